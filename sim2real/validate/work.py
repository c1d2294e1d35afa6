"""A trial's work on a robot: what the policy sees of it, what comes next on the belt, and what came of every carton.

It follows `tasks.palletizing.task`, from readings and seen poses instead of a simulation's state.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from assets.kinematics import Kinematics
from sim.cell import GRAVITY, PERIOD
from sim.knobs import Rows
from sim.rotations import yaw_of
from sim2real.robot import JOINT_TARGETS, Robot
from sim2real.sidechannel import Ask, CellClient, Places, Ware
from sim2real.validate.seen import Load, stability, standing
from sim2real.validate.trials import Outcome
from tasks.palletizing.cell import BELT_HEIGHT, DECK_HEIGHT, PALLET_YAW, STOP, TOOL_LENGTH, Layout
from tasks.palletizing.task import (
    LIFTED,
    SECONDS_EXTRA,
    SECONDS_PER_CARTON,
    SETTLE,
    STATE_NAMES,
    SURROUNDINGS_NAMES,
    Palletizing,
)

HANGING = TOOL_LENGTH + 0.12  # [m] from the flange to the middle of what is held, about
FULL = 0.8  # share of the vacuum at which the cups hold


@runtime_checkable
class Carrier(Protocol):
    """A robot whose controller can be told what hangs on the tool."""

    def carry(self, mass: float, center: tuple[float, float, float]) -> None:
        """Carry the weight of `mass` [kg] at `center` [m] in the flange's axes, beside the tool's."""
        ...


class Work:
    """One trial's work: what the policy sees, what comes next on the belt, and what came of every carton."""

    def __init__(self, robot: Robot, client: CellClient, layout: Layout, row: Rows):
        """Do the work of one `row` with a robot in a cell."""
        self.robot, self.client, self.layout, self.row = robot, client, layout, row
        self._kinematics = Kinematics(layout.arm)
        n = self.count = int(row["carton.count"][0])
        self.load = Load(
            size=row["carton.size"][0, :n],
            mass=row["carton.mass"][0, :n],
            strength=row["carton.strength"][0, :n],
            target=layout.pallet_to_world(row["plan.position"])[0, :n],
            yaw=row["plan.yaw"][0, :n] + PALLET_YAW,
        )
        self.done = np.zeros(n, dtype=bool)  # let go, or lost
        self.lost: dict[int, str] = {}
        self.press = np.zeros(n)
        self.held: int | None = None
        self.told = 0.0  # [kg] that the controller was told to carry
        self.arrived: set[int] = set()
        self.fed = self.period = self.idle = self.gripped = 0
        self.way: list[np.ndarray] = []
        self.events: list[dict[str, Any]] = []

    def lay_out(self) -> None:
        """Have the cell cleared and laid out; nothing stands in the arm's way afterwards."""
        layout, row = self.layout, self.row
        middle = layout.pallet_to_world(np.zeros(3))
        places = Places(
            base_height=layout.base_height,
            pallet=(float(middle[0]), float(middle[1]), float(middle[2])),
            pallet_yaw=PALLET_YAW,
            stop=STOP,
            belt_height=BELT_HEIGHT,
            belt_speed=float(row["conveyor.speed"][0]),
        )
        columns = (self.load.size.tolist(), self.load.mass.tolist(), row["carton.arrival_offset"][0].tolist(),
                   row["carton.arrival_yaw"][0].tolist())  # fmt: skip
        wares = [Ware(tuple(s), m, o, y) for s, m, o, y in zip(*columns, strict=False)]
        self.client.reset(places, wares, seed=int(row.numbers[0]))

    def begin(self) -> dict[str, np.ndarray]:
        """Put down what stands there at the start, let the first carton come; return what the policy sees."""
        for j in range(int(self.row["pallet.prefill"][0])):
            self.client.place(j, self.load.goal[j], float(self.load.yaw[j]))
            self.done[j], self.fed = True, j + 1
        return self._look(False)

    @property
    def over(self) -> bool:
        """Whether all cartons are let go and settled, or the time is up."""
        limit = (SECONDS_PER_CARTON * self.count + SECONDS_EXTRA) / PERIOD
        return self.idle >= SETTLE or self.period >= limit

    def after(self, action: np.ndarray) -> dict[str, np.ndarray]:
        """Note what the period with this action has brought; return what the policy sees next."""
        self.period += 1
        seen = self._look(action[6] > 0.5)
        self.idle = self.idle + 1 if self.done.all() else 0
        self.way.append(self._lips()[0])
        return seen

    def _look(self, pumping: bool) -> dict[str, np.ndarray]:
        reading, seen = self.robot.observe(), self.client.observe()
        self.joints = np.array([reading[name] for name in JOINT_TARGETS])
        self.position, self.quaternion, self.place = seen.position, seen.quaternion, seen.place
        told = self.told  # when this was read
        self._follow(seen.holding, pumping)
        self._carry(reading["suction.vacuum"])
        self._feed()
        state = dict(reading)
        wrench = np.array([reading[f"tool.{what}_{a}"] for what in ("force", "torque") for a in "xyz"])
        # Robots tell forces in the base's axes, and without the payload that they were told; policies see them in the
        # lips' axes, and all that hangs on these.
        wrench[2] -= GRAVITY * told
        turned = (wrench.reshape(2, 3) @ self._lips()[1]).reshape(6)
        state |= dict(zip(STATE_NAMES[18:24], turned.tolist(), strict=True))
        state["suction.sealed"] = reading["suction.holding"]  # cups are not told apart
        if self.held is not None:
            self.press[self.held] = max(self.press[self.held], -state["tool.force_z"])
        return {
            "state": np.array([[state[name] for name in STATE_NAMES]], dtype=np.float32),
            "environment_state": self._surroundings().astype(np.float32)[None],
        }

    def _follow(self, holding: int | None, pumping: bool) -> None:
        for j, place in enumerate(self.place):
            if place == "ready" and j not in self.arrived:
                self.arrived.add(j)
                self._log(j, "arrived")
            if place == "fallen" and not self.done[j]:
                self._lose(j, "fell")
        if self.held is not None and holding != self.held:
            j, self.held = self.held, None
            if self.place[j] == "ready":
                self._log(j, "fell back")
            elif pumping:
                self._lose(j, "pulled off")
            else:
                self.done[j] = True
                self._log(j, "released")
        if holding is not None and self.held is None and holding not in self.lost:
            self.held, self.gripped = holding, self.period
            self.done[holding] = False
            self._log(holding, "attached")

    def _carry(self, vacuum: float) -> None:
        """Tell the controller what the tool holds, by its papers: without that a heavy carton hangs low and askew.

        Not before the vacuum has built up, which takes about a period: the arm would tear itself off.
        """
        mass = 0.0 if self.held is None else float(self.load.mass[self.held])
        if mass and not self.told and (vacuum < FULL or self.period == self.gripped):
            return
        if mass != self.told and isinstance(self.robot, Carrier):
            self.robot.carry(mass, (0.0, 0.0, HANGING))
            self.told = mass

    def _lose(self, carton: int, why: str) -> None:
        self.done[carton], self.lost[carton] = True, why
        self._log(carton, f"lost: {why}")

    def _log(self, carton: int, what: str) -> None:
        self.events.append({"time": round(self.period * PERIOD, 3), "carton": carton, "event": what})

    def _feed(self) -> None:
        """Let the next carton come where the belt is empty and what was on it has been lifted."""
        if self.fed >= self.count or any(place in ("arriving", "ready") for place in self.place):
            return
        if self.held is not None:
            bottom = self.position[self.held, 2] - self.load.size[self.held, 2] / 2
            if bottom < BELT_HEIGHT + LIFTED:
                return
        self.fed = self.client.feed() + 1
        self.place = tuple("arriving" if j == self.fed - 1 else place for j, place in enumerate(self.place))

    def _lips(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the lips are in the world (3,) [m] and how they are turned (3, 3)."""
        position, rotation = self._kinematics.flange_pose(self.joints[None])
        base = np.array([0.0, 0.0, self.layout.base_height])
        return position[0] + rotation[0, :, 2] * TOOL_LENGTH + base, rotation[0]

    def _surroundings(self) -> np.ndarray:
        load, left = self.load, np.flatnonzero(~self.done)
        j = int(left[0]) if len(left) else self.count - 1
        size = load.size[j]
        unseen = not np.isfinite(self.position[j]).all()
        x, y, z = (STOP[0], STOP[1], BELT_HEIGHT) if unseen else self.position[j]
        yaw = 0.0 if unseen else float(yaw_of(self.quaternion[j]))
        on_pallet = self.done & np.isfinite(self.position).all(1)
        on_pallet[list(self.lost)] = False
        top = np.where(on_pallet, self.position[:, 2] + load.size[:, 2] / 2, -np.inf)
        values = {
            "carton.ready": float(len(left) > 0 and self.place[j] == "ready"),
            "carton.x": x, "carton.y": y, "carton.top": z + size[2] / 2, "carton.yaw": yaw,
            "carton.length": size[0], "carton.width": size[1], "carton.height": size[2], "carton.mass": load.mass[j],
            "target.x": load.target[j, 0], "target.y": load.target[j, 1],
            "target.support": self._support(j, top), "target.yaw": load.yaw[j],
            "load.top": max(top.max(), DECK_HEIGHT), "load.remaining": float(len(left)),
        }  # fmt: skip
        return np.array([values[name] for name in SURROUNDINGS_NAMES], np.float64)

    def _support(self, j: int, top: np.ndarray) -> float:
        """Return the height on which carton j will stand [m]: the highest thing below its planned base."""
        span = Palletizing.footprint(self.load.yaw, self.load.size)
        apart = np.abs(self.position[:, :2] - self.load.target[j, :2]) - (span + span[j]) / 2
        below = (apart < -0.02).all(1)
        below[j] = False
        return float(np.max(top[below], initial=DECK_HEIGHT))

    def judged(self) -> Outcome:
        """Look at the finished load and have it tested where it stands as planned."""
        seen = self.client.observe()
        put = self.done.copy()
        put[list(self.lost)] = False
        reasons, placed = standing(self.load, seen.position, seen.quaternion, self.lost, put, self.press)
        if not reasons:
            reasons = stability(self.load, self.client.ask(Ask.JUDGE, direction=float(self.row["test.direction"][0])))
        return Outcome(
            success=not reasons,
            reasons=tuple(reasons),
            placed=tuple(map(bool, placed)),
            seconds=round(self.period * PERIOD, 3),
            tool=np.array(self.way).reshape(-1, 3),
            cartons=np.concatenate([seen.position, yaw_of(seen.quaternion)[:, None]], axis=1),
            events=tuple(self.events),
        )
