"""Forward and closed-form inverse kinematics of a UR arm, vectorized. Run me to see the arms as a table.

Frames are the arm's base frame and its flange (z out of it). Lengths are DH parameters d1, a2, a3, d4, d5, d6 [m],
read off the arm's bodies. The inverse follows the usual geometric derivation (K. Hawkins, "Analytic inverse kinematics
for the Universal Robots UR-5/UR-10 arms", 2013): two shoulders, two wrists and two elbows, hence eight solutions.

Row i of a result depends on row i of the input only, to the last bit, whatever the number of rows: everything is
elementwise (no matrix products, whose rounding may change with the batch), and trigonometric functions only see
contiguous arrays (the vector and the strided versions of a function may round differently).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assets.arms import ARMS, LINKS, Arm
from assets.asset import Geom, rotation_matrix
from assets.errors import InputError
from assets.statics import gravity_torques

Array = NDArray[np.float64]
Axes = tuple[Array, Array, Array]  # a frame's x, y and z axes, each (3, n)

SINGULAR = 1e-9  # sine of the fifth joint below which the fourth and sixth turn about one line
ROUNDING = 1e-9  # a joint this little over its limit is on it [rad]


class Kinematics:
    """The geometry of an arm: poses of flange and links, all inverse solutions, its collision capsules."""

    def __init__(self, arm: Arm) -> None:
        """Read the DH parameters and the capsules off the bodies of `arm`."""
        bodies = [arm.body.find(name) for name in LINKS]
        self.d1 = bodies[1].position[2]
        self.a2 = bodies[3].position[0]
        self.a3, _, self.d4 = bodies[4].position
        self.d5 = -bodies[5].position[1]
        self.d6 = bodies[6].position[1]
        self.limits = arm.limits
        self._capsules = [
            (link, *_ends(geom))
            for link, body in enumerate(bodies)
            for geom in body.geoms
            if geom.surface is not None and geom.kind == "capsule"
        ]
        self.radii = np.array([radius for _, _, _, radius in self._capsules])
        self.capsule_links = tuple(LINKS[link] for link, _, _, _ in self._capsules)

    def flange_pose(self, q: ArrayLike) -> tuple[Array, Array]:
        """Position [m], (n, 3), and rotation, (n, 3, 3), of the flange in the base frame at joints q [rad], (n, 6)."""
        origins, axes = self._links(_rows(q, 6, "joint positions"))
        return _contiguous(origins[6].T), _contiguous(np.stack(axes[6], axis=1).transpose(2, 0, 1))

    def link_capsules(self, q: ArrayLike) -> tuple[Array, Array]:
        """Ends of the links' collision capsules in the base frame [m], (n, k, 2, 3), and their radii [m], (k,).

        `capsule_links` names the link of each. The foot, which stands still, is not among them.
        """
        origins, axes = self._links(_rows(q, 6, "joint positions"))
        ends = np.empty((len(self._capsules), 2, 3, origins[0].shape[1]))
        for i, (link, start, end, _) in enumerate(self._capsules):
            for side, (x, y, z) in enumerate((start, end)):
                ax, ay, az = axes[link]
                ends[i, side] = origins[link] + ax * x + ay * y + az * z
        return _contiguous(ends.transpose(3, 0, 1, 2)), self.radii

    def inverse(self, position: ArrayLike, rotation: ArrayLike, seed: ArrayLike) -> Array:
        """All joint positions that put the flange at a pose in the base frame [rad], (n, 8, 6).

        Args:
            position: of the flange [m], (n, 3).
            rotation: of the flange, (n, 3, 3).
            seed: each joint is given in the turn nearest to this that its limits allow, (n, 6).

        Returns:
            Solutions in fixed order (shoulder, wrist, elbow, two each); rows of NaN where out of reach or limits.
        """
        p = _rows(position, 3, "positions").T
        r = np.asarray(rotation, np.float64)
        start = _rows(seed, 6, "seed")
        count = p.shape[1]
        if r.shape != (count, 3, 3) or start.shape != (count, 6):
            raise InputError(
                f"{count} positions need rotations of shape ({count}, 3, 3) and seeds of shape ({count}, 6), "
                f"not {r.shape} and {start.shape}"
            )
        p = _contiguous(p)
        x6, y6, z6 = (_contiguous(r[:, :, k].T) for k in range(3))
        start = _contiguous(start.T)
        q = np.empty((6, 2, 2, 2, count))
        with np.errstate(invalid="ignore", divide="ignore"):
            px, py, pz = p - self.d6 * z6  # the wrist's centre: origin of the fifth and sixth axes
            lean = np.arcsin(self.d4 / np.sqrt(px * px + py * py))
            turn = np.arctan2(py, px)
            for shoulder in range(2):
                q1 = turn + (lean if shoulder == 0 else np.pi - lean)
                c1, s1 = np.cos(q1), np.sin(q1)
                # The shoulder lift axis (s1, -c1, 0) as the flange sees it: (s5 c6, -s5 s6, c5).
                mx, my, mz = (a[0] * s1 - a[1] * c1 for a in (x6, y6, z6))
                tilt = np.sqrt(mx * mx + my * my)
                for wrist, s5 in enumerate((tilt, -tilt)):
                    q5 = np.arctan2(s5, mz)
                    q6 = np.where(tilt > SINGULAR, np.arctan2(-my * np.sign(s5), mx * np.sign(s5)), start[5])
                    c6, s6 = np.cos(q6), np.sin(q6)
                    fifth = -s6 * x6 - c6 * y6  # direction of the fifth axis
                    q234 = np.arctan2(fifth[0] * c1 + fifth[1] * s1, -fifth[2])
                    # Two links in the plane of (horizontal, up) remain, from the shoulder to the fourth frame.
                    u = (px - self.d5 * fifth[0]) * c1 + (py - self.d5 * fifth[1]) * s1
                    v = pz - self.d5 * fifth[2] - self.d1
                    c3 = (u * u + v * v - self.a2 * self.a2 - self.a3 * self.a3) / (2 * self.a2 * self.a3)
                    bend = np.sqrt(_within_one(1 - c3 * c3))
                    for elbow, s3 in enumerate((bend, -bend)):
                        q3 = np.arctan2(s3, c3)
                        q2 = np.arctan2(v, u) - np.arctan2(self.a3 * s3, self.a2 + self.a3 * c3)
                        q[:, shoulder, wrist, elbow] = q1, q2, q3, q234 - q2 - q3, q5, q6
        return self._wrapped(_contiguous(q.reshape(6, 8, count).transpose(2, 1, 0)), start.T)

    def solve_tool_down(
        self, position: ArrayLike, yaw: ArrayLike, seed: ArrayLike, tool_length: float
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Joint positions that hold the tool straight down, its tip at a position, with the elbow up.

        Args:
            position: of the tool's tip in the base frame [m], (n, 3).
            yaw: of the tool's x axis about the base's z [rad], (n,); the tool's z points down.
            seed: of the solutions with the elbow up, the nearest to this is taken, (n, 6).
            tool_length: from the flange to the tip along the flange's z [m].

        Returns:
            q [rad], (n, 6), and whether there is a solution, (n,); where there is none q is the seed.
        """
        start = _rows(seed, 6, "seed")
        q = self.tool_down_solutions(position, yaw, start, tool_length)
        away = q - start[:, None, :]
        away *= away
        distance = away[:, :, 0] + away[:, :, 1] + away[:, :, 2] + away[:, :, 3] + away[:, :, 4] + away[:, :, 5]
        distance = np.where(np.isnan(distance), np.inf, distance)
        best = np.argmin(distance, axis=1)
        rows = np.arange(len(start))
        ok = np.isfinite(distance[rows, best])
        return np.where(ok[:, None], q[rows, best], start), ok

    def tool_down_solutions(self, position: ArrayLike, yaw: ArrayLike, seed: ArrayLike, tool_length: float) -> Array:
        """All joint positions that hold the tool straight down with the elbow up [rad], (n, 8, 6).

        Arguments as in `solve_tool_down`, order as in `inverse`: along a path, a column is one configuration of the
        arm. Rows of NaN where it does not reach, or has its elbow down.
        """
        tip = _rows(position, 3, "positions")
        angle = np.ascontiguousarray(yaw, np.float64)
        if angle.shape != (len(tip),):
            raise InputError(f"{len(tip)} positions need as many yaw angles, not an array of shape {angle.shape}")
        cos, sin = np.cos(angle), np.sin(angle)
        rotation = np.zeros((len(tip), 3, 3))
        rotation[:, 0, 0], rotation[:, 1, 0] = cos, sin
        rotation[:, 0, 1], rotation[:, 1, 1] = sin, -cos
        rotation[:, 2, 2] = -1
        q = self.inverse(tip + np.array([0, 0, tool_length]), rotation, seed)
        # Solutions come in pairs that differ by the elbow: keep the one that has it higher.
        height = self.a2 * np.sin(_contiguous(q[:, :, 1]))
        q[~(height >= height[:, [1, 0, 3, 2, 5, 4, 7, 6]])] = np.nan
        return q

    def _links(self, q: Array) -> tuple[list[Array], list[Axes]]:
        """Origins (3, n) and axes of the base and the six links."""
        t = _contiguous(q.T)
        cos, sin = np.cos(t), np.sin(t)
        q23 = t[1] + t[2]
        q234 = q23 + t[3]
        zero, one = np.zeros_like(t[0]), np.ones_like(t[0])
        along, up, lift = (np.stack(a) for a in ((cos[0], sin[0], zero), (zero, zero, one), (sin[0], -cos[0], zero)))
        axes: list[Axes] = [(np.stack((one, zero, zero)), np.stack((zero, one, zero)), up)]
        axes.append((along, -lift, up))
        for c, s in ((cos[1], sin[1]), (np.cos(q23), np.sin(q23)), (np.cos(q234), np.sin(q234))):
            axes.append((*_turned(along, up, c, s), lift))
        x4, y4, z4 = axes[4]
        axes.append((*_turned(x4, z4, cos[4], sin[4]), -y4))
        x5, y5, z5 = axes[5]
        axes.append((*_turned(x5, -z5, cos[5], sin[5]), y5))
        shoulder = up * self.d1
        elbow = shoulder + self.a2 * axes[2][0]
        wrist_1 = elbow + self.a3 * axes[3][0] + self.d4 * lift
        wrist_2 = wrist_1 - self.d5 * y4
        return [np.zeros_like(shoulder), shoulder, shoulder, elbow, wrist_1, wrist_2, wrist_2 + self.d6 * y5], axes

    def _wrapped(self, q: Array, seed: Array) -> Array:
        """Each joint turned by whole turns to nearest its seed within its limits; rows of NaN where there is none."""
        turn = 2 * np.pi
        low, high = self.limits[:, 0] - ROUNDING, self.limits[:, 1] + ROUNDING
        q = q + turn * np.round((seed[:, None, :] - q) / turn)
        q = np.where(q > high, q - turn * np.ceil((q - high) / turn), q)
        q = np.where(q < low, q + turn * np.ceil((low - q) / turn), q)
        bad = ~((q >= low) & (q <= high)).all(axis=2)
        q[bad] = np.nan
        return np.clip(q, self.limits[:, 0], self.limits[:, 1])


def _rows(values: ArrayLike, width: int, what: str) -> Array:
    rows = np.asarray(values, np.float64)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(f"{what} must have shape (n, {width}), not {rows.shape}")
    return rows


def _contiguous(values: Array) -> Array:
    return np.ascontiguousarray(values)


def _within_one(squared: Array) -> Array:
    """Rounding may carry a fully stretched or folded elbow a few bits out of reach: those count as on the border."""
    return np.where((squared < 0) & (squared > -1e-12), 0.0, squared)


def _turned(x: Array, y: Array, c: Array, s: Array) -> tuple[Array, Array]:
    """Axes x and y after a turn about their z by an angle of cosine c and sine s."""
    return x * c + y * s, y * c - x * s


def _ends(capsule: Geom) -> tuple[Sequence[float], Sequence[float], float]:
    """Both ends [m] of a capsule's axis in its body's frame, and its radius [m]."""
    radius, half = capsule.size
    center = np.array(capsule.position)
    axis = rotation_matrix(capsule.quaternion)[:, 2] * half
    return (center - axis).tolist(), (center + axis).tolist(), radius


def main() -> None:
    """Print the arms: the flange at home, and the torque of a payload held out at full horizontal stretch."""
    print("arm    mass kg  payload kg  flange at home x y z m     torque at full stretch, shoulder elbow N m (limits)")
    for make in ARMS.values():
        arm = make()
        flange, _ = Kinematics(arm).flange_pose(np.array([arm.home]))
        torque = gravity_torques(arm.body, (0.0,) * 6, arm.flange, arm.payload)
        limits = [j.torque_limit for j in arm.joints]
        print(
            f"{arm.name:6} {arm.body.total_mass():7.1f} {arm.payload:11.1f}  "
            + " ".join(f"{x:7.3f}" for x in flange[0])
            + f"    {abs(torque[1]):6.1f} ({limits[1]:.0f})  {abs(torque[2]):6.1f} ({limits[2]:.0f})"
        )


if __name__ == "__main__":
    main()
