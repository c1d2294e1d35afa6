"""Limits, the state machine and the watch: pure, so each rule is tried by itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from assets.arms import arm_named
from assets.errors import InputError
from sim2real.limits import Limits
from sim2real.motion import approach_path
from sim2real.outputs import Tool, ToolWiring, actions_of
from sim2real.rtde import RobotMode, SafetyBit
from sim2real.safety import FROZEN, LAG, STATE_AGE, Check, Safety, Sight, State, Watch
from sim2real.settings import OPEN_BOX

ARM = arm_named("ur20")
HOME = np.array(ARM.home)
RATE = 500.0


def limits(tcp_speed: float = 0.25, box: object = OPEN_BOX) -> Limits:
    return Limits.of(ARM, 0.2, tcp_speed, np.array(box, float))


def swing(joint: int, size: float, seconds: float) -> np.ndarray:
    """Targets that take one joint there and back, from rest to rest."""
    x = np.linspace(0.0, 1.0, round(seconds * RATE) + 1)
    path = np.tile(HOME, (len(x), 1))
    path[:, joint] += size * np.sin(np.pi * x) ** 4
    return path


class TestPath:
    def test_a_slow_motion_passes(self) -> None:
        limits().check_path(swing(0, 0.3, 8.0), RATE)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            (swing(0, 0.3, 1.5), "tool or elbow at .* limit 0.25"),
            (swing(5, 3.0, 1.0), "joint 5 for .* rad/s at"),
            (swing(5, 0.1, 0.15), "joint 5 for .* rad/s2 at"),
            (np.where(np.arange(100)[:, None] == 50, np.nan, HOME), "not a finite number at 0.100 s"),
            (HOME + np.arange(100)[:, None] * 0.001, "must begin and end at rest"),
            (np.zeros((5, 5)), r"shape \(k, 6\)"),
            (np.zeros((0, 6)), r"shape \(k, 6\)"),
        ],
    )
    def test_a_broken_limit_is_named(self, path: np.ndarray, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            limits().check_path(path, RATE)
        assert "\n" not in str(caught.value)

    def test_a_single_jump_is_found(self) -> None:
        path = swing(0, 0.1, 8.0)
        path[2000:] += 0.01
        with pytest.raises(InputError, match="joint"):
            limits().check_path(path, RATE)

    def test_the_elbow_is_watched_like_the_tool(self) -> None:
        # Lift and wrist turn against each other, so that the tool stays slow and the elbow does not.
        path = swing(1, 0.4, 3.0)
        speed = limits().points(path)
        tool = np.linalg.norm(np.diff(speed[:, -1], axis=0), axis=1).max() * RATE
        path[:, 2] -= 2.0 * (path[:, 1] - HOME[1])
        fast = np.linalg.norm(np.diff(limits().points(path), axis=0), axis=2).max(0) * RATE
        assert fast[:-1].max() > 0.25
        with pytest.raises(InputError, match="tool or elbow"):
            limits(0.25).check_path(path, RATE)
        assert tool > 0.0

    def test_the_workspace_holds_links_and_tool(self) -> None:
        tip = limits().points(HOME[None])[0, -1]
        low, high = np.array(OPEN_BOX)
        with pytest.raises(InputError, match=r"the (tool|wrist_[123]) at x"):
            limits(box=(low, [tip[0] - 0.01, *high[1:]])).check_path(HOME[None], RATE)
        with pytest.raises(InputError, match=r"the (upper_arm|forearm) at z"):
            limits(box=(low, [*high[:2], 0.9])).check_path(HOME[None], RATE)
        outside = HOME.copy()
        outside[2] = 3.3
        assert "joint 2 at 3.300 rad" in limits().outside(outside[None])

    def test_a_motion_begins_where_the_arm_is(self) -> None:
        limits().check_start(HOME + 0.01, HOME)
        with pytest.raises(InputError, match=r"0.030 rad from where joint 4 is"):
            limits().check_start(HOME + np.array([0, 0, 0, 0, 0.03, 0]), HOME)
        with pytest.raises(InputError):
            limits().check_start(HOME * np.nan, HOME)

    @pytest.mark.parametrize(
        "wrong", [{"tcp_speed": 0.0}, {"tcp_speed": np.nan}, {"box": [[0, 0, 0], [1, 0, 1]]}, {"box": [[0, 0], [1, 1]]}]
    )
    def test_limits_that_are_none(self, wrong: dict) -> None:
        with pytest.raises(InputError, match="robot"):
            limits(**wrong)


class TestCut:
    def test_a_small_step_is_kept(self) -> None:
        target = HOME + 0.002
        np.testing.assert_array_equal(limits().cut(target, HOME, HOME, 0.1), target)

    def test_a_great_step_is_shortened_in_its_direction(self) -> None:
        wish = np.array([1.0, 0.5, -0.2, 0.0, 0.0, 0.0])
        cut = limits(5.0).cut(HOME + 0.01 * wish, HOME, HOME, 0.1) - HOME
        slow = limits(0.05).cut(HOME + 0.01 * wish, HOME, HOME, 0.1) - HOME
        np.testing.assert_allclose(cut, 0.01 * wish)
        np.testing.assert_allclose(slow / np.linalg.norm(slow), wish / np.linalg.norm(wish))

    @pytest.mark.parametrize("seed", range(5))
    def test_whatever_is_asked_the_motion_keeps_the_limits(self, seed: int) -> None:
        from sim.servo import Servo

        random, bound = np.random.default_rng(seed), limits()
        servo, only = Servo(ARM, 1, 0.1, 50), np.array([0])
        servo.reset(HOME[None], only)
        path = []
        for _ in range(40):
            last, before = servo.history[0, -1], servo.history[0, -2]
            wish = last + random.normal(size=6) * random.choice([0.01, 0.2, 3.0])
            servo.command(bound.cut(wish, last, before, 0.1)[None], only)
            path.append(servo.samples(0, 50, only)[0])
        targets = np.concatenate(path)
        speed = bound.speeds(targets, RATE)
        # Between two steps the arm turns from one direction to another: a little above either.
        assert speed.max() < 0.25 * 1.1
        assert np.percentile(speed, 95) > 0.1
        assert (np.abs(np.diff(targets, axis=0)).max(0) * RATE <= bound.velocity * 1.001).all()
        assert (np.abs(np.diff(targets, 2, axis=0)).max(0) * RATE**2 <= bound.acceleration * 1.001).all()

    def test_it_can_always_stop(self) -> None:
        bound = limits()
        before = HOME - bound.velocity * 0.1
        np.testing.assert_allclose(bound.cut(HOME, HOME, before, 0.1), HOME)


class TestApproach:
    def test_it_arrives_slowly(self) -> None:
        goal = HOME + np.array([0.5, 0.2, -0.3, 0.1, 0.4, -2.0])
        path = approach_path(HOME, goal, limits(), RATE)
        np.testing.assert_allclose(path[-1], goal)
        limits().check_path(path, RATE)
        assert limits().speeds(path, RATE).max() < 0.15

    def test_nowhere_to_go_takes_a_moment(self) -> None:
        assert len(approach_path(HOME, HOME, limits(), RATE)) == 50

    def test_a_pose_out_of_bounds_is_refused(self) -> None:
        with pytest.raises(InputError, match="the way to the first pose would bring"):
            approach_path(HOME, HOME + np.array([0, 2.2, 0, 0, 0, 0]), limits(box=((-2, -2, -0.2), (2, 2, 2))), RATE)
        with pytest.raises(InputError, match="six finite"):
            approach_path(HOME, HOME[:5], limits(), RATE)


GOOD = [Check("model", True, "UR20")]


class TestStates:
    def test_the_way_through(self) -> None:
        heard: list[State] = []
        safety = Safety(lambda state, reason: heard.append(state))
        safety.connected()
        assert not safety.moving_allowed
        safety.arm(GOOD)
        safety.run()
        safety.run()
        safety.rest()
        safety.stop("asked to")
        assert not safety.moving_allowed
        safety.arm(GOOD)
        assert safety.fault("something")
        safety.disconnected()
        S = State
        assert heard == [S.DRY_RUN, S.ARMED, S.RUNNING, S.ARMED, S.STOPPED, S.ARMED, S.FAULT, S.DISCONNECTED]

    def test_nothing_runs_unarmed(self) -> None:
        safety = Safety()
        with pytest.raises(InputError, match="not connected"):
            safety.run()
        safety.connected()
        with pytest.raises(InputError, match="arm the robot first"):
            safety.run()

    def test_failed_checks_are_all_named(self) -> None:
        safety = Safety()
        safety.connected()
        wrong = [*GOOD, Check("payload", False, "0 kg"), Check("speed", False, "10 %")]
        with pytest.raises(InputError, match="not armed: payload: 0 kg; speed: 10 %"):
            safety.arm(wrong)
        assert safety.state is State.DRY_RUN

    def test_a_fault_stays_with_its_first_reason(self) -> None:
        safety = Safety()
        safety.connected()
        safety.arm(GOOD)
        assert safety.fault("first")
        assert not safety.fault("second")
        safety.stop("third")
        safety.rest()
        assert (safety.state, safety.reason) == (State.FAULT, "first")
        for forbidden in (safety.run, safety.connected, lambda: safety.arm(GOOD)):
            with pytest.raises(InputError, match="fault: first: look at the arm"):
                forbidden()


def sight(**changed: object) -> Sight:
    values = {
        "now": 10.0, "received": 9.999, "lag": 0.0, "safety": int(SafetyBit.NORMAL), "mode": int(RobotMode.RUNNING),
        "position": HOME, "velocity": np.zeros(6), "readings": b"a", "lost": "", "running": True,
    }  # fmt: skip
    return Sight(**{**values, **changed})  # type: ignore[arg-type]


class TestWatch:
    def test_all_is_well(self) -> None:
        assert Watch().look(sight(), HOME) == ""
        assert Watch().look(sight(running=False), None) == ""  # nothing has been sent yet

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"lost": "closed"}, "connection lost: closed"),
            ({"received": 10.0 - STATE_AGE - 0.002}, "no state of the robot for 42 ms"),
            ({"lag": LAG + 0.001}, "41 ms late"),
            ({"safety": 4}, "the controller stopped the arm: protective stop"),
            ({"safety": 0x80}, "emergency stop"),
            ({"mode": 3}, "mode power off"),
            ({"mode": -1}, "mode -1"),
            ({"running": False}, "no longer runs the program"),
            ({"position": HOME + 0.5}, "joint 0 is 0.50 rad from its target"),
            ({"position": HOME * np.nan}, "joint 0 is nan rad"),
        ],
    )
    def test_what_is_wrong_is_named(self, changed: dict, words: str) -> None:
        assert words in Watch().look(sight(**changed), HOME)

    def test_a_frozen_state_is_seen_while_the_arm_moves(self) -> None:
        watch = Watch()
        moving = {"velocity": np.full(6, 0.1)}
        told = [watch.look(sight(now=t, received=t, **moving), HOME) for t in np.arange(0.0, 0.06, 0.002)]
        first = next(i for i, says in enumerate(told) if says)
        assert "frozen" in told[first]
        assert first * 0.002 == pytest.approx(FROZEN, abs=0.003)

    def test_or_while_its_target_does(self) -> None:
        watch = Watch()
        assert watch.look(sight(now=0.0, received=0.0), HOME) == ""
        assert watch.look(sight(now=1.0, received=1.0), HOME) == ""  # stands, and was told to
        assert "frozen" in watch.look(sight(now=1.1, received=1.1), HOME + 0.02)
        assert watch.look(sight(now=1.2, received=1.2, readings=b"b"), HOME + 0.02) == ""


class TestActions:
    NAMES = dict.fromkeys((*(f"joint{i}.position" for i in range(6)), "suction"), float)

    def test_an_action_comes_apart(self) -> None:
        target, rest = actions_of(dict(zip(self.NAMES, range(7), strict=True)), self.NAMES)
        np.testing.assert_array_equal(target, range(6))
        assert rest == {"suction": 6.0}

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"suction": np.nan}, "suction = nan is not a finite number"),
            ({"joint3.position": "far"}, "'far' is not a number"),
            ({"joint9.position": 1.0}, "unknown 'joint9.position'"),
        ],
    )
    def test_a_wrong_one_is_refused(self, change: dict, words: str) -> None:
        with pytest.raises(InputError, match=words):
            actions_of({**dict.fromkeys(self.NAMES, 0.0), **change}, self.NAMES)

    def test_a_missing_one_is_refused(self) -> None:
        with pytest.raises(InputError, match="lacks 'suction'"):
            actions_of({name: 0.0 for name in self.NAMES if name != "suction"}, self.NAMES)


class Outputs:
    """Writes down what is set."""

    def __init__(self) -> None:
        self.set: list[tuple] = []

    def digital(self, output: int, level: bool, tool: bool) -> bool:
        self.set.append(("tool" if tool else "box", output, level))
        return True

    def analog(self, output: int, ratio: float) -> bool:
        self.set.append(("analog", output, ratio))
        return True


class TestTool:
    def test_outputs_are_set_when_they_change(self) -> None:
        client, tool = Outputs(), Tool(ToolWiring(vacuum_output=17, gripper_output=1, gripper_span=0.08))
        for suction, opening in ((1.0, 0.04), (1.0, 0.04), (0.2, 0.5)):
            tool.write(client, tool.cut({"suction": suction, "gripper.opening": opening}))
        assert client.set == [("tool", 1, True), ("analog", 1, 0.5), ("tool", 1, False), ("analog", 1, 1.0)]

    def test_what_is_read(self) -> None:
        tool = Tool(ToolWiring(vacuum_output=2, holding_input=3, vacuum_input=1))
        nothing = tool.read(0, 0, np.zeros(2))
        assert nothing == {"suction.vacuum": 0.0, "suction.holding": 0.0}
        assert tool.read(4, 8, np.array([0.0, 8.0])) == {"suction.vacuum": 0.8, "suction.holding": 1.0}
        assert Tool(ToolWiring(vacuum_output=2)).read(4, 0, np.zeros(2))["suction.holding"] == 1.0

    def test_no_tool_no_names(self) -> None:
        assert ToolWiring().actions == ToolWiring().states == ()

    @pytest.mark.parametrize("wrong", [{"vacuum_output": 8}, {"gripper_output": 2}, {"gripper_span": 0.0}])
    def test_wiring_that_no_controller_has(self, wrong: dict) -> None:
        with pytest.raises(InputError, match=next(iter(wrong))):
            dataclasses.replace(ToolWiring(), **wrong)
