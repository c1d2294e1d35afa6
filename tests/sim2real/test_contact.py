import dataclasses
import time

import numpy as np
import pytest

from assets.arms import arm_named
from assets.errors import InputError
from benchmarks.contact import BOX as WORKSPACE
from benchmarks.contact import MeasuredRobot
from sim.cell_knobs import CELL_KNOBS
from sim.knobs import Knob, Knobs
from sim.suction import Suction
from sim.variations import Calibration
from sim2real.identify.calibration import CalibrationFile
from sim2real.identify.contact import ContactResult, identify_contact, plan_contact, run_contact
from sim2real.identify.contact_estimates import Estimate, pooled
from sim2real.identify.contact_friction import SLID, crossing, push_ratio
from sim2real.identify.contact_model import KNOBS, ContactModel, Setup
from sim2real.identify.contact_plan import FREE_RUN, PUSH_TRAVEL, TEARING, WARES
from sim2real.identify.contact_stiffness import firmness
from sim2real.identify.contact_suction import STRENGTH, Tear, strain_of, strength, tear_of
from sim2real.settings import ArmSettings
from sim2real.sidechannel import CellClient, Places
from sim2real.standin.cell import Cell
from sim2real.standin.sealed import Sealed

LIMITS = ArmSettings(box=WORKSPACE).limits()
FRICTION = Knob("friction", "1", 0.2, 0.9, 0.5, "of something")


@pytest.fixture(scope="module")
def plan():
    return plan_contact("ur20", LIMITS, Places())


@pytest.fixture(scope="module")
def model():
    return ContactModel(arm_named("ur20"), Places(), 48)


# ---- planning --------------------------------------------------------------------------------------------------------


def test_the_plan_keeps_to_the_limits_and_says_what_will_happen(plan):
    assert len(plan.describe()) == len(plan.experiments) == len({e.name for e in plan.experiments})
    assert {e.kind for e in plan.experiments} == {"tilt", "drop", "push", "pull", "drag", "bend"}
    for experiment, line in zip(plan.experiments, plan.describe(), strict=True):
        assert experiment.name in line
        if experiment.kind in ("tilt", "drop"):
            assert "operator" in line
            continue
        assert "robot" in line
        assert "at most" in line
        whole = np.concatenate([experiment.approach, experiment.motion, experiment.retreat])
        LIMITS.check_path(whole, 500.0)
        assert LIMITS.speeds(whole, 500.0).max() <= 0.25
        np.testing.assert_allclose(whole[[0, -1]], [plan.ready] * 2, atol=1e-9)
        if experiment.kind != "push":
            # Straining moves nothing but the targets, and not far.
            assert np.abs(np.diff(experiment.motion, axis=0)).max() < 1e-4


def test_straining_asks_no_joint_for_more_than_it_has(plan):
    arm = arm_named("ur20")
    for experiment in plan.experiments:
        if experiment.kind in TEARING:
            ahead = experiment.motion[-1] - experiment.motion[0]
            torque = np.abs(ahead) * [joint.stiffness for joint in arm.joints]
            assert (torque < [joint.torque_limit for joint in arm.joints]).all()


@pytest.mark.parametrize(
    ("places", "box", "says"),
    [
        (Places(pallet=(2.4, 0.0, 0.144)), WORKSPACE, "does not reach"),
        (Places(), ((-2.2, -2.2, -0.2), (2.2, 2.2, 2.6)), "outside the workspace box"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_before_anything_moves(places, box, says):
    with pytest.raises(InputError, match=says) as error:
        plan_contact("ur20", ArmSettings(box=box).limits(), places)
    assert "\n" not in str(error.value)


# ---- what each experiment tells --------------------------------------------------------------------------------------


def test_the_slope_of_sliding_is_read_between_two_pictures():
    tilt = np.linspace(0.0, 0.5, 51)
    slid = np.where(tilt > 0.4, (tilt - 0.4) * 0.5, 0.0)
    assert crossing(tilt, slid) == pytest.approx(0.4 + 2 * SLID, abs=1e-3)


def test_pushing_counts_what_the_tool_presses_down_and_takes_the_sensors_offset_off():
    progress = np.linspace(0.0, 1.0, 800)
    touching = progress > FREE_RUN / (FREE_RUN + PUSH_TRAVEL)
    mu, mass, lift, direction = 0.45, 8.0, 12.0, 0.7
    force = np.zeros((800, 6))
    along = np.array([np.cos(direction), np.sin(direction)])
    force[touching, :2] = -mu * (mass * 9.81 + lift) * along
    force[touching, 2] = lift
    force += [3.0, -2.0, -4.0, 0.1, 0.0, 0.0]
    assert push_ratio(progress, force, direction, mass) == pytest.approx(mu, rel=1e-9)


def test_the_rule_for_letting_go_is_that_of_sim(model):
    """What our strain calls 1 is where `sim.suction` lets go."""
    suction: Suction = model.cell.suction
    cups, count = len(suction.cups.positions), 48
    ids = np.arange(count)
    rng = np.random.default_rng(2)
    values = np.array([[500.0, 0.55, 20.0, 30.0, 1.0]])
    loads = rng.normal(size=(count, 6)) * (100.0, 100.0, 300.0, 9.0, 14.0, 6.0)
    for sealed in (4, 8):
        strains = np.array([strain_of(Tear(load[None], sealed / cups, True), values)[0] for load in loads])
        assert 5 < (strains > 1.0).sum() < 43
        for scale, lets_go in ((0.999, False), (1.001, True)):
            model.cell.apply(model.rows(count, {}), ids)
            suction.max_force[ids], suction.friction[ids] = values[0, 0], values[0, 1]
            suction.max_moment[ids] = values[0, 2:4]
            suction.state.on[ids], suction.state.held[ids] = True, 0
            suction.state.sealed[ids], suction.state.vacuum[ids] = sealed, 1.0
            # The strain of a press or of a pull that leaves less grip does not grow in proportion: go by bisection.
            factor = np.array([_factor(load, sealed / cups, values) for load in loads])
            suction.update(loads * (factor * scale)[:, None], ids)
            assert ((suction.state.broken_by[ids] > 0) == lets_go).all()


def _factor(load, share, values):
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        beyond = strain_of(Tear(load[None] * middle, share, True), values)[0] > 1.0
        low, high = (low, middle) if beyond else (middle, high)
    return high


def _tears(truth, rng, torn=True):
    """Loads that grow until cups of the strength `truth` let go."""
    tears = []
    directions = [(5, 2, 100, 1, 2, 0), (-8, 1, 100, -2, 4, 0), (3, 0, 100, 2, -1, 0), (90, 3, -40, 1, 2, 0.2),
                  (5, 80, -50, 2, 3, 0.1), (3, 20, 10, 20, 1, 0), (2, -20, -8, -20, 2, 0), (30, 2, 15, 2, 12, 0),
                  (-30, 2, -12, 1, -12, 0)]  # fmt: skip
    for k, direction in enumerate(directions):
        load = np.array(direction, float)
        share = 0.5 if k < 5 else 1.0
        end = _factor(load, share, truth[None])
        grown = np.linspace(0.0, end * (1.0 if torn else 0.5), 300)[:, None] * load
        tears.append(Tear(grown + rng.normal(size=grown.shape) * 0.1, share, torn))
    return tears


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_strengths_are_found_from_the_loads_that_tore_the_cups_off(power):
    truth = np.array([430.0, 0.5, 18.0, 25.0, power])
    estimates, kept, notes = strength(_tears(truth, np.random.default_rng(0)))
    assert not kept
    for label, value in zip(STRENGTH, truth[:4], strict=True):
        assert estimates[label].value == pytest.approx(value, rel=0.03)
    assert any("power" in note for note in notes) == (power == 2.0)


def test_cups_that_never_let_go_tell_nothing():
    truth = np.array([900.0, 0.9, 60.0, 60.0, 1.0])
    estimates, kept, _ = strength(_tears(truth, np.random.default_rng(0), torn=False))
    assert not estimates
    assert kept == list(STRENGTH)


def test_a_tear_ends_where_the_load_is_gone():
    plan = plan_contact("ur20", LIMITS, Places(), kinds=("pull",))
    force = np.zeros((900, 6))
    force[100:600, 2] = -np.linspace(0.0, 200.0, 500)
    force[650:, 2] = 400.0  # the tool runs into something
    force += 7.0
    tear = tear_of(plan.experiments[0], force)
    assert tear.torn
    assert tear.share == 0.5
    assert tear.load[:, 2].max() == pytest.approx(200.0, rel=0.02)
    assert np.abs(tear.load[:, [0, 1, 3, 4, 5]]).max() < 1e-9


def test_the_interval_grows_with_disagreement_and_never_vanishes():
    same, apart = pooled([0.4, 0.4, 0.4], FRICTION, 0.01), pooled([0.37, 0.40, 0.43], FRICTION, 0.01)
    assert same.value == pytest.approx(0.4)
    assert same.sigma == pytest.approx(0.004)
    low, high = apart.interval
    # Student's t for two degrees of freedom: 2.92 times the standard error.
    assert (high - low) / 2 == pytest.approx(np.hypot(2.92 * 0.03 / np.sqrt(3), 1.6449 * 0.004), rel=1e-3)
    assert pooled([0.4], FRICTION, 0.01).sigma > 2 * same.sigma
    assert pooled([2.0, 2.0], FRICTION, 0.01).value == 0.9


# ---- our model -------------------------------------------------------------------------------------------------------


def test_firmness_is_found_from_the_models_own_drops(model):
    truth = {"contact.time_constant": np.array(0.007), "contact.damping_ratio": np.array(1.3)}
    heights = (0.015, 0.03, 0.05)
    size = WARES[0].size
    curves = model.drop(size, np.array(heights), 0.4, truth)
    time = 0.002 * (1 + np.arange(curves.shape[1]))
    found, notes = firmness(model, size, [(h, time, c) for h, c in zip(heights, curves, strict=True)], {})
    assert not notes
    for name, value in truth.items():
        assert found[name].value == pytest.approx(float(value), rel=0.01)


def test_the_model_pushes_with_the_friction_it_is_given(model, plan):
    experiment = next(e for e in plan.experiments if e.name == "push wood 0")
    setup = Setup(experiment.placements, 8.0, experiment.motion)
    felt = model.run([setup] * 2, {"surface.cardboard_wood.friction": np.array([0.3, 0.6])})
    progress = np.linspace(0, 1, len(experiment.motion))[4::5]
    ratios = [push_ratio(progress, felt.force[k][: len(progress)], experiment.value, 8.0) for k in range(2)]
    np.testing.assert_allclose(ratios, [0.3, 0.6], rtol=0.02)


# ---- the whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", ["contained", "richer"])
def test_friction_of_a_sealed_stand_in_is_found_within_five_percent(structure):
    sealed = Sealed.draw(12, structure)
    robot = MeasuredRobot(Cell("ur20", sealed))
    plan = plan_contact("ur20", robot.limits, Places(), kinds=("tilt", "push"))
    said = []
    evidence = run_contact(plan, robot, CellClient(robot.cell.ask), said.append)
    assert len(said) == len(plan.experiments)
    result = identify_contact(evidence, plan, "ur20")
    assert set(result.estimates) == {"surface.cardboard_cardboard.friction", "surface.cardboard_wood.friction"}
    for name, estimate in result.estimates.items():
        assert len(estimate.experiments) == 6
        assert estimate.value == pytest.approx(sealed.number(name), rel=0.05)
        low, high = estimate.interval
        assert low < sealed.number(name) < high


def test_a_carton_that_is_not_where_it_should_be_is_told(plan):
    robot = MeasuredRobot(Cell("ur20", Sealed.draw(1)))
    client = CellClient(robot.cell.ask)
    place = client.place

    def elsewhere(carton, position, yaw=0.0, clamped=False):
        place(carton, (position[0], position[1] + 0.5, position[2]), yaw, clamped)

    client.place = elsewhere
    one = dataclasses.replace(plan, experiments=tuple(e for e in plan.experiments if e.name == "push wood 1"))
    with pytest.raises(InputError, match="push wood 1: the carton went"):
        run_contact(one, robot, client)


def test_the_result_is_a_calibration_that_variations_draw_from(tmp_path):
    label = "suction.max_moment[0]"
    estimates = {"contact.time_constant": Estimate(0.008, 0.0002), label: Estimate(21.0, 0.5)}
    result = ContactResult(estimates, ("suction.max_moment[1]", "suction.friction"), (), ("something is strange",))
    file = result.calibration("ur20", "stand-in, not hardware")
    path = tmp_path / "contact.yaml"
    file.write(path)
    knobs = Knobs(CELL_KNOBS, {"joint": 6})
    drawn = Calibration.read(path, knobs).draw(0, 0, knobs)
    assert set(drawn) == {"contact.time_constant", "suction.max_moment", "suction.friction"}
    assert drawn["contact.time_constant"] == pytest.approx(0.008, rel=0.2)
    again = CalibrationFile.read(path, knobs)
    assert again.evidence["suction.max_moment"].status == ["identified", "kept at prior"]
    assert again.evidence["suction.friction"].status == ["kept at prior"]
    assert again.verdict["contact"] == "something is strange"
    assert again.knobs["suction.friction"] == pytest.approx(float(KNOBS.nominal("suction.friction")))


def test_a_motion_waits_until_the_last_action_is_over():
    """A real arm's servo loop refuses a motion while an action is still being carried out."""

    class Busy(MeasuredRobot):
        acted = -1.0

        def act(self, action):
            self.acted = time.monotonic()
            return super().act(action)

        def play(self, targets, rate=500.0):
            assert time.monotonic() - self.acted > 0.3
            return super().play(targets, rate)

    robot = Busy(Cell("ur20", Sealed.draw(3)))
    plan = plan_contact("ur20", robot.limits, Places(), kinds=("pull",))
    one = dataclasses.replace(plan, experiments=plan.experiments[:1])
    evidence = run_contact(one, robot, CellClient(robot.cell.ask))
    assert evidence[0].recording is not None
