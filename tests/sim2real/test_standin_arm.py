"""The stand-in's arm and controller, without sockets and faster than real time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assets.arms import arm_named
from assets.errors import InputError
from assets.gripper import vacuum_gripper
from assets.kinematics import Kinematics
from sim2real.rtde import RobotMode, SafetyBit
from sim2real.standin import poses
from sim2real.standin.controller import PAUSED, PLAYING, STOPPED, Controller
from sim2real.standin.dashboard import answer
from sim2real.standin.plant import PERIOD, Plant
from sim2real.standin.sealed import Sealed

SCRIPT = b"def rtde_control():\n    global reg_offset_int = # int register offset\n0\nend\n"
HOME = np.array(arm_named("ur20").home)


def motion(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds / PERIOD))[:, None] * PERIOD
    swing = np.array([0.2, 0.1, 0.1, 0.2, 0.2, 0.2]) * np.sin(
        2 * np.pi * time * np.array([0.3, 0.4, 0.5, 0.9, 1.1, 1.3])
    )
    return HOME + np.clip(time, 0, 1) * swing


def played(sealed: Sealed, targets: np.ndarray) -> np.ndarray:
    plant = Plant("ur20", sealed)
    positions = []
    for target in targets:
        plant.step(target)
        positions.append(plant.position)
    return np.array(positions)


# ---- what is sealed --------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_arm_and_a_seal_that_its_revelation_matches() -> None:
    one, again, other = Sealed.draw(3), Sealed.draw(3), Sealed.draw(4)
    assert one.seal() == again.seal() != other.seal()
    assert json.dumps(one.reveal()) == json.dumps(again.reveal())
    assert Sealed.draw(3, "richer").seal() != one.seal()
    # What both structures have is the same arm.
    richer = Sealed.draw(3, "richer")
    assert all(np.array_equal(one[name], richer[name]) for name in one if name != "arm.stribeck")
    assert set(richer) > set(one)
    assert one.reveal()["values"]["arm.stiffness"] == one["arm.stiffness"].tolist()


def test_ranges_are_wide_and_weak_is_weak() -> None:
    gains = np.array([Sealed.draw(seed)["arm.stiffness"] for seed in range(40)])
    assert 0.6 <= gains.min() < 0.7 < 1.3 < gains.max() <= 1.4
    weak, usual = Sealed.draw(3, weak=True), Sealed.draw(3)
    assert weak.number("suction.max_force") <= 300 < 350 <= usual.number("suction.max_force")
    assert weak.number("surface.cardboard_cardboard.friction") < 0.33
    assert np.array_equal(weak["arm.stiffness"], usual["arm.stiffness"])


def test_bad_seeds_and_structures_are_refused() -> None:
    with pytest.raises(InputError, match="structure of a stand-in 'rich'"):
        Sealed.draw(3, "rich")
    with pytest.raises(InputError, match="seed"):
        Sealed.draw(-1)


# ---- the arm ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["contained", "richer"])
def test_the_same_targets_give_the_same_motion(structure: str) -> None:
    sealed = Sealed.draw(3, structure)
    assert np.array_equal(played(sealed, motion(0.6)), played(sealed, motion(0.6)))


def test_contained_is_what_the_models_row_says() -> None:
    """The structure "contained" is our model's: written apart, yet the row of its sealed values moves alike."""
    from sim.knobs import Rows
    from sim2real.identify.model import KNOBS, ArmModel, Run

    sealed, targets = Sealed.draw(5), motion(1.5)
    plant = Plant("ur20", sealed)
    positions, torques = np.empty_like(targets), np.empty_like(targets)
    for k, target in enumerate(targets):
        plant.step(target)
        positions[k], torques[k] = plant.position, plant.torque
    columns = {n: sealed[n].reshape(1, *KNOBS.shape(n)) for n in sealed if n.startswith(("arm.", "tool."))}
    model = ArmModel(plant.arm, vacuum_gripper(), 1, 1)
    run = Run("test", targets, np.tile(HOME, (len(targets), 1)), torques)
    ours = model.play(Rows(KNOBS, columns, 0, np.arange(1)), run)
    nominal = model.play(Rows(KNOBS, {}, 0, np.arange(1)), run)
    assert np.abs(ours.position[0] - positions).max() < 1e-6
    assert np.abs(ours.torque[0] - torques).max() < 1e-2
    assert np.abs(nominal.position[0] - positions).max() > 5e-3


def test_richer_differs_where_it_says() -> None:
    contained, richer = (played(Sealed.draw(3, s), motion(1.5)) for s in ("contained", "richer"))
    assert np.abs(contained - richer).max() > 2e-4
    step = Sealed.draw(3, "richer").number("standin.encoder_step")
    assert np.allclose(richer / step, np.round(richer / step), atol=1e-6)
    resting = played(Sealed.draw(3, "richer"), np.tile(HOME, (300, 1)))[-1] - HOME
    assert np.abs(resting - Sealed.draw(3, "richer")["standin.encoder_bias"]).max() < 3e-3


def test_the_force_sensor_feels_what_the_tool_weighs_beyond_its_declared_payload() -> None:
    sealed = Sealed.draw(3)
    plant = Plant("ur20", sealed)
    forces = []
    for _ in range(400):
        plant.step(HOME)
        forces.append(plant.tcp_force)
    root = vacuum_gripper().mass
    surplus = root * (sealed.number("tool.mass") - 1)
    assert np.mean(forces, axis=0)[2] == pytest.approx(-surplus * 9.81, abs=0.15)
    plant.set_payload(plant.payload + surplus, plant.payload_center)
    corrected = []
    for _ in range(400):
        plant.step(HOME)
        corrected.append(plant.tcp_force)
    assert np.mean(corrected, axis=0)[2] == pytest.approx(0.0, abs=0.15)
    plant.zero_force()
    assert np.abs(plant.tcp_force).max() == 0


def test_brakes_stop_a_fast_arm_within_100_ms() -> None:
    plant = Plant("ur20", Sealed.draw(3))
    target = HOME.copy()
    for _ in range(500):
        target[0] += 1.5 * PERIOD
        plant.step(target)
    assert plant.velocity[0] > 1.4
    plant.brake()
    for after, allowed in ((50, 0.05), (50, 0.01)):
        for _ in range(after):
            target[0] += 1.5 * PERIOD
            plant.step(target)
        assert np.abs(plant.velocity).max() < allowed


@pytest.mark.parametrize("arm", ["ur10e", "ur20"])
def test_kinematics_are_those_of_assets(arm: str) -> None:
    kinematics = Kinematics(arm_named(arm))
    for q in np.random.default_rng(0).uniform(-3, 3, (5, 6)):
        position, rotation = poses.flange(kinematics, q.tolist())
        expected = kinematics.flange_pose(q[None])
        assert np.allclose(position, expected[0][0], atol=1e-12)
        assert np.allclose(rotation, expected[1][0], atol=1e-12)
        vector = poses.to_vector(position, rotation)
        assert np.allclose(poses.from_vector(vector)[1], rotation, atol=1e-9)


# ---- the controller --------------------------------------------------------------------------------------------------


def controller(run: bool = True) -> Controller:
    made = Controller(Plant("ur20", Sealed.draw(3)))
    made.tick()
    if run:
        made.run(SCRIPT)
        ticks(made, 3)
        assert made.runtime == PLAYING
    return made


def ticks(made: Controller, count: int) -> None:
    for _ in range(count):
        made.tick()


def servo(made: Controller, goal: np.ndarray) -> None:
    made.write({f"input_double_register_{i}": float(q) for i, q in enumerate(goal)} | {"input_int_register_0": 11})


def test_a_servo_jump_stops_the_arm_and_only_a_person_unlocks_it() -> None:
    c = controller()
    servo(c, HOME + 0.1)
    ticks(c, 5)
    assert c.safety == 1
    servo(c, HOME + 1.0)
    ticks(c, 50)
    assert c.fields["safety_status_bits"] & SafetyBit.PROTECTIVE_STOP
    assert c.runtime == PAUSED
    assert "too far" in c.messages[0]
    stood = c.plant.position
    servo(c, HOME)
    ticks(c, 100)
    assert np.abs(c.plant.position - stood).max() < 1e-3
    assert "Cannot unlock" in answer(c, "unlock protective stop")
    ticks(c, round(5.1 / PERIOD))
    assert answer(c, "unlock protective stop") == "Protective stop releasing"
    ticks(c, 500)
    assert answer(c, "safetystatus") == "Safetystatus: NORMAL"
    assert np.abs(c.plant.position - stood).max() < 1e-3  # nothing resumes on its own


def test_nan_targets_stop_it() -> None:
    c = controller()
    servo(c, np.full(6, np.nan))
    ticks(c, 2)
    assert c.fields["safety_status_bits"] & SafetyBit.PROTECTIVE_STOP
    assert np.isfinite(c.plant.position).all()


def test_the_watchdog_ends_the_program() -> None:
    c = controller()
    c.write({"input_double_register_0": 10.0, "input_int_register_0": 35})
    ticks(c, 2)
    for _ in range(10):
        c.write({"input_int_register_0": 0})
        ticks(c, 40)
        assert c.runtime == PLAYING
    ticks(c, 55)
    assert c.runtime == STOPPED
    assert "watchdog" in c.messages[-1]


def test_speed_slider_slows_a_move_down() -> None:
    arguments = [*(HOME + 0.3 * np.eye(6)[0]), 1.0, 2.0]
    move = {f"input_double_register_{i}": float(a) for i, a in enumerate(arguments)} | {"input_int_register_0": 1}
    counts = []
    for slider in (1.0, 0.25):
        c = controller()
        c.write({"speed_slider_mask": 1, "speed_slider_fraction": slider})
        c.write(move)
        count = 0
        while c.fields["output_int_register_0"] != 2 and count < 5000:
            c.tick()
            count += 1
        assert abs(c.plant.position[0] - HOME[0] - 0.3) < 2e-3
        counts.append(count)
    assert counts[1] > 1.5 * counts[0]


def test_an_unknown_command_or_script_is_refused_with_a_word() -> None:
    c = controller()
    c.write({"input_int_register_0": 6})
    ticks(c, 2)
    assert c.runtime == STOPPED
    assert "command 6" in c.messages[-1]
    c.run(b"def popup_hello():\n popup(1)\nend\n")
    assert c.runtime == STOPPED
    assert "no URScript" in c.messages[-1]


def test_an_emergency_stop_takes_the_power_until_somebody_gives_it_back() -> None:
    c = controller()
    servo(c, HOME + 0.2)
    ticks(c, 30)
    c.emergency_stop()
    ticks(c, 50)
    assert np.abs(c.plant.velocity).max() < 0.05
    assert c.fields["safety_status_bits"] & SafetyBit.EMERGENCY_STOP
    c.run(SCRIPT)
    assert c.runtime == STOPPED
    assert answer(c, "power on") == "Powering on"
    assert c.mode == RobotMode.POWER_OFF  # the button is still pressed
    c.emergency_release()
    answer(c, "power on")
    assert answer(c, "robotmode") == "Robotmode: IDLE"
    answer(c, "brake release")
    c.run(SCRIPT)
    ticks(c, 2)
    assert c.runtime == PLAYING


def test_outputs_are_set_by_mask() -> None:
    c = controller(run=False)
    c.write({"standard_digital_output_mask": 0b101, "standard_digital_output": 0b111})
    c.write({"configurable_digital_output_mask": 1, "configurable_digital_output": 1})
    c.write({"standard_digital_output_mask": 0b001, "standard_digital_output": 0})
    c.write({"standard_analog_output_mask": 2, "standard_analog_output_0": 0.3, "standard_analog_output_1": 0.7})
    c.tick()
    assert c.fields["actual_digital_output_bits"] == 0b1_0000_0100
    assert (c.fields["standard_analog_output0"], c.fields["standard_analog_output1"]) == (0.0, 0.7)


@pytest.mark.parametrize(("arm", "model"), [("ur20", "UR20"), ("ur10e", "UR10")])
def test_the_dashboard_says_who_it_is(arm: str, model: str) -> None:
    c = Controller(Plant(arm, Sealed.draw(3)))
    assert answer(c, "get robot model") == model
    assert answer(c, "PolyscopeVersion").startswith("URSoftware 5.")
    assert answer(c, "get serial number").isdigit()
    assert answer(c, "is in remote control") == "true"
    assert answer(c, "make coffee").startswith("could not understand")
