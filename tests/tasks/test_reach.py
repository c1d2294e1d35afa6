"""Where the arm can set cartons down, checked against distances that MuJoCo measures on the arm's own model."""

from __future__ import annotations

import time

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from assets.arms import arm_named
from tasks.packing.orders import Carton
from tasks.packing.plans import Placement
from tasks.packing.reach import CLEARANCE, Reach, segment_box_distance

DISTANCE = 0.90


@pytest.fixture(scope="module")
def reach() -> Reach:
    return Reach(arm_named("ur20"), base_height=0.75, pallet_position=(DISTANCE, 0, 0.144), pallet_yaw=np.pi / 2)


def _at(x: float, y: float, z: float, yaw: float = 0.0, number: int = 0) -> Placement:
    return Placement(number, (x, y, z), yaw)


CARTON = Carton("water", (0.4, 0.3, 0.25), 8.0)


def test_segment_box_distance_against_dense_samples() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.uniform(-1, 1, (2, 400, 3))
    half = rng.uniform(0.05, 0.5, (400, 3))
    points = start[:, None] + np.linspace(0, 1, 2001)[None, :, None] * (end - start)[:, None]
    outside = points - np.clip(points, -half[:, None], half[:, None])
    sampled = np.linalg.norm(outside, axis=2).min(axis=1)
    distance = segment_box_distance(start, end, half)
    assert (distance <= sampled + 1e-9).all()
    np.testing.assert_allclose(distance, sampled, atol=1e-3)


def test_the_whole_pallet_is_in_reach(reach: Reach) -> None:
    """Every place on the deck and on closed layers up to 1.4 m above the floor."""
    for z in (0.0, 0.25, 0.5, 0.75, 1.0):
        below = [(Carton("layer", (1.2, 0.8, z), 1.0), _at(0, 0, 0, number=9))] if z else []
        for x in np.linspace(-0.4, 0.4, 5):
            for y in np.linspace(-0.25, 0.25, 4):
                assert reach.explain(CARTON, _at(x, y, z), below) == "reachable"
                assert reach(CARTON, _at(0.875 * x, 0.8 * y, z, np.pi / 2), below)


def test_reasons(reach: Reach) -> None:
    assert "does not reach" in reach.explain(CARTON, _at(0, -1.5, 0), [])
    assert "does not reach" in reach.explain(CARTON, _at(0, 0, 2.0), [])
    small = Carton("tin", (0.27, 0.13, 0.11), 4.0)
    # A gap between two towers, too narrow for the gripper to follow the carton down.
    towers = [
        (Carton("tower", (0.4, 0.3, 0.3), 9.0), _at(0, side * (0.065 + 0.001 + 0.15), 0, number=3)) for side in (-1, 1)
    ]
    assert "the gripper would come within 20 mm of carton 3 (tower)" in reach.explain(small, _at(0, 0, 0), towers)
    assert not reach(small, _at(0, 0, 0), towers)
    # Apart, or with towers no higher than the carton, it fits.
    apart = [(c, _at(0, 1.3 * p.position[1], 0)) for c, p in towers]
    assert reach(small, _at(0, 0, 0), apart)
    level = [(Carton("tin", (0.4, 0.3, 0.11), 9.0), p) for _, p in towers]
    assert reach(small, _at(0, 0, 0), level)
    near = Reach(arm_named("ur20"), base_height=0.75, pallet_position=(0.5, 0, 0.144), pallet_yaw=np.pi / 2)
    assert "column" in near.explain(CARTON, _at(0, 0.14, 0, np.pi / 2), [])


def test_a_wall_between_arm_and_place_stops_the_forearm(reach: Reach) -> None:
    """A place behind a wall so high that the forearm would cut through it."""
    wall = [(Carton("wall", (1.2, 0.15, 1.25), 9.0), _at(0, 0.30, 0, number=5))]
    assert not reach(CARTON, _at(0, -0.2, 0), wall)
    assert "carton 5 (wall)" in reach.explain(CARTON, _at(0, -0.2, 0), wall)
    assert reach(CARTON, _at(0, -0.2, 0), [])


def test_link_distances_agree_with_mujoco(reach: Reach) -> None:
    """For random arm poses and boxes, what is called too close is what MuJoCo measures as such."""
    rng = np.random.default_rng(1)
    kinematics = reach._kinematics
    agreed = close = 0
    for _ in range(60):
        q = np.array([arm_named("ur20").home]) + rng.uniform(-0.4, 0.4, (1, 6))
        ends, radii = kinematics.link_capsules(q)
        beside = reach._to_pallet(ends[0, rng.integers(1, len(radii)), 0])
        center, half = beside + rng.uniform(-0.4, 0.4, 3), rng.uniform(0.06, 0.2, 3)
        measured = _mujoco_gap(reach._to_pallet(ends[:, reach._moving])[0], radii[reach._moving], center, half)
        far = np.array([[5.0, 5.0, 5.0]])
        found = reach._link_obstacle(q, far, np.full(3, 0.1), center[None], half[None], ["the box"])
        assert (found is not None) == (measured < CLEARANCE), (found, measured)
        agreed += 1
        close += found is not None
    assert agreed == 60
    assert 10 < close < 50


def _mujoco_gap(ends: NDArray, radii: NDArray, center: NDArray, half: NDArray) -> float:
    spec = mujoco.MjSpec()
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=center, size=half)
    for (start, end), radius in zip(ends, radii, strict=True):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=np.concatenate((start, end)), size=[radius, 0, 0]
        )
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    gaps = [mujoco.mj_geomDistance(model, data, 0, i, 1.0, None) for i in range(1, model.ngeom)]
    return float(min(gaps))


def test_speed(reach: Reach) -> None:
    """About a millisecond a call, with forty cartons on the pallet; the limit here leaves room for a busy machine."""
    placed = [
        (Carton("c", (0.3, 0.2, 0.2), 5.0), _at(-0.45 + 0.3 * (i % 4), -0.3 + 0.2 * (i // 4 % 4), 0.2 * (i // 16)))
        for i in range(40)
    ]
    best = np.inf
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(20):
            reach(CARTON, _at(0.3, 0.2, 0.6), placed)
        best = min(best, (time.perf_counter() - began) / 20)
    assert best < 5e-3
