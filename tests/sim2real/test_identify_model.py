"""The model that identification fits is the one that simulation uses."""

from __future__ import annotations

import numpy as np
import pytest

from assets.errors import InputError
from assets.gripper import Cups
from sim.cell import PERIOD, Cell
from sim.knobs import Rows
from sim.mujoco_worlds import MujocoWorlds
from sim2real.identify.model import KNOBS, RATE, run_of, servo_commands
from sim2real.identify.parameters import DELAY, JOINTS, PAYLOAD, STRIBECK, Parameters
from sim2real.standin.sealed import Sealed
from tests.sim2real.identify_lab import model, recorded, run

ALL = DELAY + JOINTS + STRIBECK + PAYLOAD
ODD = {
    "arm.latency": 0.0137, "arm.servo_filter": 0.011, "arm.friction": 1.7, "arm.damping": 0.6, "arm.stiffness": 0.8,
    "arm.servo_damping": 1.2, "arm.armature": 1.3, "tool.mass": 1.4, "tool.center_of_mass": (0.02, -0.01, 0.03),
}  # fmt: skip


def row(**changed: object) -> Rows:
    values = {**ODD, **{k.replace("__", "."): v for k, v in changed.items()}}
    columns = {k: np.broadcast_to(np.asarray(v, float), KNOBS.shape(k))[None] for k, v in values.items()}
    return Rows(KNOBS, columns, 0, np.zeros(1))


@pytest.mark.parametrize("stribeck", [0.0, 0.8])
def test_it_moves_as_a_cell_of_the_same_row(stribeck: float) -> None:
    rows = row(arm__stribeck=stribeck, arm__stribeck_velocity=0.03)
    scene = model().scene
    cell = Cell(MujocoWorlds(scene, 1), Cups())
    ids = np.zeros(1, np.int64)
    cell.apply(rows, ids)
    home = cell.home
    still = row(arm__latency=0.0, arm__servo_filter=0.0)
    # What a robot is sent: the targets as the cell's servo interpolates them, before its delay and filter.
    ideal = Cell(MujocoWorlds(scene, 1), Cups())
    ideal.apply(still, ids)
    sent, positions = [], []
    rng = np.random.default_rng(2)
    for k in range(25):
        target = (home + np.sin(0.35 * k) * rng.uniform(0.02, 0.06, 6) * (k > 2))[None]
        ideal.servo.command(target, ids)
        sent.append(ideal.servo.samples(0, cell.substeps, ids)[0])
        cell.advance(target, np.zeros(1, bool), ids)
        positions.append(cell.joints(ids)[0][0])
    targets = np.concatenate(sent)
    played = model().play(rows, run(targets, np.broadcast_to(home, targets.shape))).position[0]
    step = round(PERIOD * RATE)
    np.testing.assert_allclose(played[step - 1 :: step], np.array(positions), atol=2e-5)
    assert np.abs(played - targets).max() > 5e-3  # the delay and the friction are there to be seen


def test_commands_come_late_by_a_fraction_of_a_row_and_filtered() -> None:
    ramp = np.repeat(np.arange(60.0)[:, None], 6, axis=1)
    late = servo_commands(ramp, np.array([0.0, 0.0031]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(late[0], ramp)
    np.testing.assert_allclose(late[1, 10:, 0], ramp[10:, 0] - 0.0031 * RATE)
    step = np.ones((400, 6))
    step[0] = 0.0
    slow = servo_commands(step, np.zeros(1), np.array([0.05]))[0, :, 0]
    np.testing.assert_allclose(slow, 1.0 - np.exp(-np.arange(400) / RATE / 0.05), atol=1e-12)


def test_rows_more_than_worlds_are_played_in_lots() -> None:
    few = model()
    targets = np.repeat(np.array(few.arm.home)[None], 60, axis=0)
    p = Parameters(("arm.latency",))
    rows = p.rows(np.linspace(0.0, 0.03, few.worlds.nworld + 3)[:, None], {})
    assert few.play(rows, run(targets)).position.shape == (few.worlds.nworld + 3, 60, 6)


def test_recordings_begin_with_the_first_target() -> None:
    home = np.array(model().arm.home)
    made = recorded(Sealed.nominal(), np.repeat(home[None], 300, axis=0))
    made.sent[:40] = np.nan
    assert len(run_of(made).sent) == 260
    made.sent[:] = np.nan
    with pytest.raises(InputError, match="no sent targets"):
        run_of(made)


def test_parameters_there_and_back() -> None:
    p = Parameters(ALL)
    assert len(p) == len(p.labels) == 2 + 30 + 7 + 4
    assert p.labels[2:4] == ("arm.stiffness[0]", "arm.stiffness[1]")
    assert "arm.latency" in p.labels
    rng = np.random.default_rng(0)
    x = p.low + rng.random((5, len(p))) * (p.high - p.low)
    rows = p.rows(x, {"sensor.joint_torque_noise": np.array(2.0)})
    rows.check("test")
    assert (rows["sensor.joint_torque_noise"] == 2.0).all()
    for k in range(5):
        np.testing.assert_allclose(p.vector(p.knobs(x[k])), x[k], atol=1e-9)
    nominal = p.knobs(p.nominal)
    assert (nominal["arm.stiffness"] == 1.0).all()
    assert nominal["arm.servo_filter"] == pytest.approx(0.001)
    with pytest.raises(InputError, match=r"arm\.lateny"):
        Parameters(("arm.lateny",))
