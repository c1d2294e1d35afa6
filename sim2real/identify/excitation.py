"""What the arm is to do so that its figures show: sweeps, chirps and sums of sines, planned within limits.

Three kinds of motion tell three kinds of things: slow sweeps back and forth show dry friction, chirps show the servos
and delays, and sums of sines (Fourier series; Swevers et al., "Optimal robot excitation and identification", 1997) show
inertia and payload. Every motion begins and ends at home, at rest. Candidates are scaled until they keep the limits,
then chosen one after another by how much each adds to the information (the logarithm of its determinant, over the
prior) that our model expects of it. A plan can be looked at before anything moves.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from assets.arms import Arm
from assets.errors import InputError
from assets.statics import joint_inertias
from sim2real.identify.fit import FIRST_SIGMA, Problem, linearize
from sim2real.identify.model import RATE, ArmModel, Run
from sim2real.identify.parameters import Parameters
from sim2real.limits import Limits

EASE = 0.8  # [s] over which a motion begins and ends
REST = 0.3  # [s] at home before and after
REACHED = 0.97  # part of the limits that a plan uses
# Share of the tool's speed that each joint may have alone; all together seldom reach their highest at once.
SHARES = np.array([0.5, 0.5, 0.5, 0.6, 0.8, 1.0])
LEVERS = np.array([1.3, 1.2, 0.9, 0.45, 0.3, 0.2])  # [m] from each joint's axis to the tool's tip, about
JOINT_SPEED = 0.6  # part of each joint's speed limit
# Part of the torque limit that a joint's own acceleration may take; the rest is for friction, weight and the others.
EFFORT = 0.35
EXPECTED_SIGMA = FIRST_SIGMA / np.array([[30.0], [10.0]])  # what is left of each channel once the model fits


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The most that a motion asks for, as parts of what it may (1 is the limit), and where it leaves its bounds."""

    speed: float
    acceleration: float
    tool_speed: float
    outside: str

    @property
    def allowed(self) -> bool:
        """Whether it keeps all of them, with a margin."""
        return not self.outside and max(self.speed, self.acceleration, self.tool_speed) <= REACHED


@dataclasses.dataclass(frozen=True)
class Planned:
    """A planned motion.

    Attributes:
        name: kind and number.
        targets: joint targets (k, 6) [rad] at 500 Hz, at home and at rest at both ends.
        extremes: what it asks of the limits.
        gain: what it adds to the logarithm of the information's determinant; 0 until ranked.
    """

    name: str
    targets: np.ndarray
    extremes: Extremes
    gain: float = 0.0

    @property
    def seconds(self) -> float:
        """Return how long it takes [s]."""
        return len(self.targets) / RATE

    def describe(self) -> str:
        """Return a line that says what it is and what it asks of the limits."""
        span = np.rad2deg(np.ptp(self.targets, axis=0))
        e = self.extremes
        return (
            f"{self.name}: {self.seconds:.1f} s, joints span {' '.join(f'{s:.0f}' for s in span)} deg; of what it may: "
            f"tool speed {e.tool_speed:.0%}, joint speed {e.speed:.0%}, acceleration {e.acceleration:.0%}; "
            f"information +{self.gain:.1f}"
        )


def gentle(arm: Arm, limits: Limits) -> np.ndarray:
    """Return the accelerations (6,) [rad/s2] that excitation may ask of the joints: few, so that no servo saturates."""
    felt = joint_inertias(arm.body, arm.home, arm.flange, arm.payload / 2) + [j.armature for j in arm.joints]
    return np.minimum(limits.acceleration, EFFORT * np.array([j.torque_limit for j in arm.joints]) / felt)


def extremes(targets: np.ndarray, arm: Arm, limits: Limits) -> Extremes:
    """Return what a motion (k, 6) asks of the limits."""
    velocity = np.diff(targets, axis=0) * RATE
    acceleration = np.diff(velocity, axis=0) * RATE
    thin = targets[::5]  # tool and links move by millimetres in 10 ms
    return Extremes(
        speed=float((np.abs(velocity) / (limits.velocity * JOINT_SPEED)).max()),
        acceleration=float((np.abs(acceleration) / gentle(arm, limits)).max()),
        tool_speed=float(limits.speeds(thin, RATE / 5).max() / limits.tcp_speed),
        outside=limits.outside(thin),
    )


def _eased(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Return times [s] and a window that is 0 at both ends, with no jump up to its second derivative."""
    time = np.arange(round(seconds * RATE) + 1) / RATE
    s = np.clip(np.minimum(time, time[-1] - time) / EASE, 0.0, 1.0)
    return time, s**3 * (10.0 - 15.0 * s + 6.0 * s * s)


def sweep(seconds: float, seed: int) -> np.ndarray:
    """Return slow sweeps back and forth, (k, 6), per unit of tool speed: each joint reverses at its own pace.

    The speed itself swells from a creep: dry friction that grows towards standstill (Stribeck) shows where it is low.
    """
    time, window = _eased(seconds)
    rng = np.random.default_rng([seed, 1])
    shape = []
    for joint in range(6):
        period = seconds / (2.0 + 0.5 * joint + rng.uniform(-0.2, 0.2))
        swell = 0.03 + 0.40 * (0.5 - 0.5 * np.cos(2 * np.pi * time / seconds + rng.uniform(0, 2 * np.pi)))
        # A triangle with rounded corners: constant speed between quick reversals.
        speed = np.tanh(3.0 * np.sin(2 * np.pi * time / period + rng.uniform(0, 2 * np.pi))) * swell
        shape.append(np.cumsum(speed - speed.mean()) / RATE * SHARES[joint] / LEVERS[joint])
    return np.stack(shape, axis=1) * window[:, None]


def chirp(seconds: float, seed: int) -> np.ndarray:
    """Return rising tones, (k, 6), per unit of tool speed: 0.3 to 5 Hz at constant acceleration above 1 Hz."""
    time, window = _eased(seconds)
    rng = np.random.default_rng([seed, 2])
    shape = []
    for joint in range(6):
        first, last = 0.3 * rng.uniform(0.8, 1.3), (3.0 if joint < 3 else 5.0) * rng.uniform(0.8, 1.1)
        rate = np.log(last / first) / time[-1]
        frequency = first * np.exp(rate * time)
        phase = 2 * np.pi * (frequency - first) / rate + rng.uniform(0, 2 * np.pi)
        size = 0.5 / (2 * np.pi * frequency * np.maximum(frequency, 1.0))
        shape.append(size * np.sin(phase) * SHARES[joint] / LEVERS[joint])
    return np.stack(shape, axis=1) * window[:, None]


def fourier(seconds: float, seed: int, harmonics: int = 6) -> np.ndarray:
    """Return sums of sines, (k, 6), per unit of tool speed: wide and slow ones that carry small quick ones."""
    time, window = _eased(seconds)
    rng = np.random.default_rng([seed, 3])
    orders = np.unique(np.round(np.geomspace(1, 2.0 * seconds, harmonics)))  # up to 2 Hz
    shape = []
    for joint in range(6):
        size = rng.normal(size=len(orders)) / np.sqrt(len(orders))
        angle = 2 * np.pi * (orders[:, None] * time[None] / time[-1] + rng.uniform(0, 1, (len(orders), 1)))
        speed_like = size[:, None] / (2 * np.pi * orders[:, None] / time[-1]) * np.sin(angle)
        shape.append(speed_like.sum(0) * SHARES[joint] / LEVERS[joint])
    return np.stack(shape, axis=1) * window[:, None]


KINDS = {"sweep": sweep, "chirp": chirp, "fourier": fourier}


def motion(kind: str, seconds: float, seed: int, arm: Arm, limits: Limits) -> Planned:
    """Return a motion of `KINDS` around home, as large as the limits allow.

    Raises:
        InputError: even standing at home breaks them.
    """
    home = np.array(arm.home)
    where = limits.outside(home[None])
    if where:
        raise InputError(f"identification starts at home, where {where}: widen robot.box")
    rest = np.zeros((round(REST * RATE), 6))
    shape = np.concatenate([rest, KINDS[kind](seconds - 2 * REST, seed), rest]) * limits.tcp_speed
    # A joint that alone breaks its own limits is scaled alone: it should not hold back the others.
    velocity = np.diff(shape, axis=0) * RATE
    fastest = np.abs(velocity).max(0) / (limits.velocity * JOINT_SPEED)
    hardest = np.abs(np.diff(velocity, axis=0) * RATE).max(0) / gentle(arm, limits)
    shape = shape * np.minimum(1.0, REACHED / (1.5 * np.maximum(np.maximum(fastest, hardest), 1e-9)))
    low, high = 0.0, 1.5  # part of the shape that fits: found by halving, for the workspace is no linear thing
    for _ in range(12):
        middle = (low + high) / 2
        if extremes(home + shape * middle, arm, limits).allowed:
            low = middle
        else:
            high = middle
    targets = home + shape * low
    return Planned(f"{kind} {seed}", targets, extremes(targets, arm, limits))


def candidates(arm: Arm, limits: Limits, seconds: float = 8.0, seed: int = 0) -> list[Planned]:
    """Return motions to choose among: two sweeps, three chirps and four Fourier series."""
    wanted = [("sweep", 2), ("chirp", 3), ("fourier", 4)]
    return [motion(kind, seconds, seed * 100 + k, arm, limits) for kind, count in wanted for k in range(count)]


def plan(
    model: ArmModel, parameters: Parameters, motions: Sequence[Planned], count: int = 4, at: np.ndarray | None = None
) -> list[Planned]:
    """Return the `count` most telling of `motions`, with what each adds to the information.

    The best of each kind comes first: what a motion tells is worked out with our model, and if that is wrong about
    friction, say, it does not know what a sweep would tell.

    Args:
        model: our model of the arm.
        parameters: what is to be told; the information is counted over their priors.
        motions: candidates.
        count: how many to choose.
        at: the row at which the information is worked out (p,); about the nominal one if not given.
    """
    # What is nothing by default (a filter, Stribeck friction) is looked at as if it were there: else it has no effect.
    least = parameters.nominal <= parameters.low
    x = parameters.nominal + least * parameters.spread if at is None else at
    scale = parameters.spread
    tells = []
    for candidate in motions:
        run = Run(candidate.name, candidate.targets, candidate.targets, np.zeros_like(candidate.targets))
        problem = Problem(model, parameters, [run], sigma=EXPECTED_SIGMA)
        jacobian = linearize(problem, x).jacobian
        tells.append((jacobian.T @ jacobian) * np.outer(scale, scale))
    total, chosen, left = np.eye(len(parameters)), [], list(range(len(motions)))
    known = 0.0
    for _ in range(min(count, len(motions))):
        seen = {_kind(c) for c in chosen}
        among = [k for k in left if _kind(motions[k]) not in seen] or left
        sizes = [np.linalg.slogdet(total + tells[k])[1] for k in among]
        best = among[int(np.argmax(sizes))]
        chosen.append(dataclasses.replace(motions[best], gain=float(max(sizes) - known)))
        known, total = float(max(sizes)), total + tells[best]
        left.remove(best)
    return chosen


def _kind(planned: Planned) -> str:
    return planned.name.split()[0]
