"""Trials on a robot: a policy drives a `Robot` through a palletizing cell that is watched over a side channel.

The policy sees what it sees in simulation: the robot's readings, and of the goods what cameras and papers say; that
and what goes on in the cell meanwhile stand in `sim2real.validate.work`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from assets.errors import InputError
from assets.kinematics import Kinematics
from sim.cell import PERIOD
from sim.knobs import Rows
from sim.variations import Variation
from sim2real.robot import JOINT_TARGETS, Robot, robot_named
from sim2real.sidechannel import Ask, CellClient, SideChannel
from sim2real.simulated import SimSettings
from sim2real.standin import WHAT as STAND_IN
from sim2real.validate.policies import policy_named
from sim2real.validate.simulated import SimulatedCell, in_one_cell, with_cell
from sim2real.validate.trials import Cell, Outcome, Trial
from sim2real.validate.work import Work
from tasks.palletizing.cell import TOOL_LENGTH
from tasks.simulation import Settings

CLEAR = 0.4  # [m] by which the tool is raised before the arm goes home
UNSEEN = 77  # added to the seed of a simulated robot's goods, which are not those of the prediction


class RobotCell:
    """A robot in a cell with a side channel."""

    def __init__(
        self,
        robot: Robot,
        client: CellClient,
        settings: Settings,
        rows: Rows,
        what: str,
        hang_up: Callable[[], None] = lambda: None,
    ):
        """Run trials on `rows` with a connected robot.

        Args:
            robot: connected, not yet armed.
            client: of the cell around it.
            settings: task, layout, slots.
            rows: the trials' variants.
            what: what the robot is, for the report.
            hang_up: ends the connection to the cell.
        """
        self._hang_up = hang_up
        self.robot, self.client, self.settings, self.rows, self.what = robot, client, settings, rows, what
        self.resets_itself = what == STAND_IN
        self._kinematics = Kinematics(settings.layout.arm)
        self._home = np.array(settings.layout.arm.home)
        self._armed = False

    def check(self, predicted: Iterable[Outcome]) -> None:
        """Compare what the tool did in simulation with the robot's limits.

        Raises:
            InputError: it moves faster, or elsewhere, than the robot's settings let it.
        """
        limits, base = self.robot.limits, np.array([0.0, 0.0, self.settings.layout.base_height])
        ways = [o.tool - base for o in predicted if len(o.tool) > 1]
        if not ways:
            return
        fastest = max(float(np.sqrt((np.diff(way, axis=0) ** 2).sum(-1)).max()) / PERIOD for way in ways)
        if fastest > limits.tcp_speed:
            raise InputError(
                f"the trials move the tool at up to {fastest:.2f} m/s, robot.tcp_speed = {limits.tcp_speed:g} m/s: "
                "raise it knowingly, with nobody in reach, or choose slower policies"
            )
        low, high = (np.array([edge(way, axis=0) for way in ways]) for edge in (np.min, np.max))
        low, high = low.min(axis=0), high.max(axis=0)
        if (low < limits.box[0]).any() or (high > limits.box[1]).any():
            raise InputError(
                f"the trials move the tool within {low.round(2).tolist()} … {high.round(2).tolist()} m of the base, "
                f"robot.box = {limits.box.tolist()} allows less"
            )

    def run(self, trial: Trial) -> Outcome:
        """Run one trial.

        Raises:
            InputError: robot or side channel fail; the robot has stopped then.
        """
        if not self._armed:
            self.robot.arm()
            self._armed = True
        work = Work(self.robot, self.client, self.settings.layout, self.rows.take([trial.row]))
        policy = policy_named(trial.policy, self.settings, 1)
        ids = np.array([0])
        policy.reset(ids, self.rows.numbers[[trial.row]])
        try:
            work.lay_out()
            self._go_home()
            seen = work.begin()
            while not work.over:
                action = policy.act(seen, ids)[0, 0].astype(np.float32).astype(np.float64)
                self.robot.act(dict(zip(self._actions, action.tolist(), strict=True)))
                seen = work.after(action)
            self.robot.act(dict(zip(self._actions, [*work.joints.tolist(), 0.0], strict=True)))
            return work.judged()
        except BaseException:
            self.robot.stop()
            self._armed = False
            raise

    def close(self) -> None:
        """Stop and let go of the robot."""
        with contextlib.suppress(InputError):
            self.robot.stop()
        self.robot.disconnect()
        self._hang_up()

    @property
    def _actions(self) -> tuple[str, ...]:
        return (*JOINT_TARGETS, "suction")

    def _go_home(self) -> None:
        """Straight up, then home, slowly; the operator has cleared the cell."""
        reading = self.robot.observe()
        joints = np.array([reading[name] for name in JOINT_TARGETS])
        position, rotation = self._kinematics.flange_pose(joints[None])
        tip = position + rotation[:, :, 2] * TOOL_LENGTH
        yaw = np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])
        up, ok = self._kinematics.solve_tool_down(tip + np.array([0.0, 0.0, CLEAR]), yaw, joints[None], TOOL_LENGTH)
        if ok[0] and np.abs(joints - self._home).max() > 0.2 and np.abs(up[0] - joints).max() < 1.5:
            self.robot.approach(up[0])
        self.robot.approach(self._home)


def cell_of(robot: Mapping[str, Any], settings: Settings, rows: Rows, variation: Variation, seed: int) -> Cell:
    """Return what the trials run on, connected.

    Args:
        robot: settings of the robot (`conf/robot/<name>.yaml`); of kind "sim", a simulated cell whose `knobs` are as
            given there, everything else being drawn from the variation.
        settings: task, layout, slots.
        rows: the trials' variants.
        variation: what the prediction draws its cells from.
        seed: of the session.

    Raises:
        InputError: the robot or its side channel does not answer, or it is another arm, or one without a cell.
    """
    if robot["kind"] == "sim":
        truth = Variation.parse("robot.knobs", SimSettings.parse(robot).knobs, settings.knobs)
        return SimulatedCell(settings, in_one_cell(with_cell(rows, variation, seed + UNSEEN), truth, seed))
    channel = SideChannel(str(robot["host"]))
    with contextlib.ExitStack() as undo:
        undo.callback(channel.close)
        hello = channel.ask(Ask.HELLO)
        if hello["arm"] != settings.layout.robot:
            raise InputError(f"{robot['host']} is a {hello['arm']}, the trials are for a {settings.layout.robot}")
        if not hello["cell"]:
            raise InputError(f"{robot['host']} has no palletizing cell: start the stand-in with --cell")
        arm = robot_named(str(robot["kind"]), **{k: v for k, v in robot.items() if k != "kind"})
        arm.connect()
        undo.pop_all()
    return RobotCell(arm, CellClient(channel.ask), settings, rows, str(hello["what"]), channel.close)
