import threading
import time

import mujoco
import numpy as np
import pytest

from assets.errors import InputError
from assets.kinematics import Kinematics
from sim2real.standin.cell import HELD_INPUT, VACUUM_OUTPUT, Cell
from sim2real.standin.sealed import Sealed

CARTON = {"size": [0.4, 0.3, 0.24], "mass": 8.0}
BASE = 0.75  # [m] the arm's base over the floor
DECK = 0.144


@pytest.fixture(scope="module")
def built():
    return Cell("ur20", Sealed.draw(3, "contained"))


@pytest.fixture
def cell(built):
    built.plant.reset(built.plant.arm.home)
    built.plant.outputs = 0
    built.ask("cell.reset", cartons=[CARTON] * 4, seed=1)
    return built


def wait(cell, seconds):
    for _ in range(round(seconds / 0.002)):
        cell.plant.step(cell.plant.target)


def reach(cell, point, speed=0.25):
    """Move the lips straight to a point of the world, tool down."""
    arm = cell.plant.arm
    kinematics = Kinematics(arm)
    flange, rotation = kinematics.flange_pose(cell.plant.target[None])
    start = flange[0] + 0.2 * rotation[0, :, 2]
    goal = np.array(point) - [0, 0, BASE]
    steps = max(round(float(np.abs(goal - start).max()) / speed / 0.002), 10)
    share = (1 - np.cos(np.pi * np.arange(1, steps + 1) / steps)) / 2
    way = start + share[:, None] * (goal - start)
    seed = np.broadcast_to(cell.plant.target, (steps, 6))
    joints, ok = kinematics.solve_tool_down(way, np.zeros(steps), seed, 0.2)
    assert ok.all()
    for q in joints:
        cell.plant.step(q)
    wait(cell, 0.8)


def test_a_carton_comes_along_the_conveyor_and_stops_at_the_barrier(cell):
    assert cell.ask("cell.feed") == {"carton": 0}
    with pytest.raises(InputError, match="carton 0 is still on the conveyor"):
        cell.ask("cell.feed")
    wait(cell, 4.0)
    seen = cell.ask("cell.observe")
    assert seen["place"] == ["ready", "waiting", "waiting", "waiting"]
    assert seen["position"][1] is None
    x, y, z = seen["position"][0]
    assert 0.15 - 0.061 <= x + 0.2 <= 0.15
    assert y == pytest.approx(-0.9, abs=0.01)
    assert z == pytest.approx(0.72, abs=0.01)


def test_the_gripper_takes_a_carton_and_lets_go_of_it(cell):
    cell.ask("cell.place", carton=0, position=[0.9, 0.0, DECK + 0.12])
    reach(cell, (0.9, 0.0, DECK + 0.24 - 0.001))
    assert not cell.plant.inputs & HELD_INPUT
    cell.plant.outputs = VACUUM_OUTPUT
    wait(cell, 0.5)
    assert cell.plant.inputs & HELD_INPUT
    assert cell.ask("cell.observe")["holding"] == 0
    reach(cell, (0.9, 0.0, DECK + 0.44))
    seen = cell.ask("cell.observe")
    assert seen["place"][0] == "held"
    assert seen["position"][0][2] == pytest.approx(DECK + 0.32, abs=0.006)
    # What hangs weighs what it weighs.
    assert cell.vacuum.wrench[2] == pytest.approx(8.0 * 9.81, rel=0.03)
    cell.plant.outputs = 0
    wait(cell, 1.0)
    seen = cell.ask("cell.observe")
    assert (seen["holding"], seen["place"][0], seen["lost"][0]) == (None, "put", False)
    assert seen["position"][0][2] == pytest.approx(DECK + 0.12, abs=0.01)


def test_a_carton_held_down_tears_the_cups_off_at_what_they_bear(cell):
    cell.ask("cell.place", carton=0, position=[0.9, 0.0, DECK + 0.12], clamped=True)
    reach(cell, (0.9, 0.0, DECK + 0.24 - 0.001))
    cell.plant.outputs = VACUUM_OUTPUT
    wait(cell, 0.8)
    assert cell.ask("cell.observe")["holding"] == 0
    reach(cell, (0.9, 0.0, DECK + 0.34), speed=0.02)
    seen = cell.ask("cell.observe")
    assert seen["holding"] is None
    assert seen["lost"][0]
    assert seen["position"][0][2] == pytest.approx(DECK + 0.12, abs=0.004)
    # A hold that broke seals nothing until the pump has been off.
    reach(cell, (0.9, 0.0, DECK + 0.24 - 0.001))
    assert cell.ask("cell.observe")["holding"] is None


@pytest.mark.parametrize("structure", ["contained", "richer"])
def test_the_tilt_table_shows_the_sealed_friction(structure):
    sealed = Sealed.draw(5, structure)
    cell = Cell("ur20", sealed)
    cell.ask("cell.reset", cartons=[CARTON])
    for on, name in (("cardboard", "cardboard_cardboard"), ("wood", "cardboard_wood")):
        answer = cell.ask("cell.tilt", carton=0, on=on, direction=0.4, rate=0.02)
        assert np.tan(answer["angle"]) == pytest.approx(sealed.number(f"surface.{name}.friction"), rel=0.08)
        assert len(answer["time"]) == len(answer["tilt"]) == len(answer["slid"])


def test_a_dropped_carton_comes_to_rest_at_zero(cell):
    answer = cell.ask("cell.drop", carton=0, on="wood", height=0.03)
    height = np.array(answer["height"])
    assert height[0] == pytest.approx(0.03, abs=0.001)
    assert height.min() < -0.0005
    assert abs(height[-50:].mean()) < 5e-5


def test_the_stability_test_tells_a_good_load_from_a_loose_one(cell):
    cell.ask("cell.place", carton=0, position=[0.9, 0.0, DECK + 0.12])
    cell.ask("cell.place", carton=1, position=[0.9, 0.0, DECK + 0.36])
    wait(cell, 0.5)
    before = cell.plant.data.qpos.copy()
    answer = cell.ask("cell.judge", direction=0.0)
    assert (cell.plant.data.qpos == before).all()
    assert max(answer["tilt"]["greatest"]) < 0.003
    # Friction of 0.32 cannot hold the upper carton under 0.5 g; the lower one slides less or with it.
    assert answer["pulse"]["greatest"][1] > 0.02
    assert len(answer["before"]["position"]) == 4


def test_masses_are_as_stated_only_where_our_model_has_it_so():
    contained, richer = (Cell("ur20", Sealed.draw(2, s)) for s in ("contained", "richer"))
    for cell in (contained, richer):
        cell.ask("cell.reset", cartons=[CARTON] * 6)
    assert [contained.ask("cell.weigh", carton=i)["mass"] for i in range(6)] == [8.0] * 6
    masses = np.array([richer.ask("cell.weigh", carton=i)["mass"] for i in range(6)])
    shift = richer.sealed.number("standin.mass_shift")
    assert masses.mean() / 8.0 - 1.0 == pytest.approx(shift, abs=0.08)
    assert masses.std() > 0.05


def test_same_seed_same_answers():
    answers = []
    for _ in range(2):
        cell = Cell("ur20", Sealed.draw(4, "richer"))
        cell.ask("cell.reset", cartons=[CARTON] * 2, seed=7)
        cell.ask("cell.feed")
        wait(cell, 0.5)
        answers.append((cell.ask("cell.observe"), cell.ask("cell.drop", carton=1, on="wood", height=0.02)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("name", "message", "says"),
    [
        ("cell.dance", {}, "unknown message 'cell.dance'"),
        ("cell.weigh", {}, "carton"),
        ("cell.weigh", {"carton": 9}, "carton 9: announced are 0 … 3"),
        ("cell.weigh", {"carton": 0, "hurry": True}, "hurry"),
        ("cell.place", {"carton": 0, "position": [0.0, float("nan"), 1.0]}, "finite position"),
        ("cell.tilt", {"carton": 0, "on": "ice", "direction": 0.0, "rate": 0.02}, "unknown plate 'ice'"),
        ("cell.tilt", {"carton": 0, "on": "wood", "direction": 0.0, "rate": 5.0}, "rate of 0.002"),
        ("cell.drop", {"carton": 0, "on": "wood", "height": 3.0}, "height of 0.005"),
        ("cell.reset", {"cartons": []}, "a list of 1 to 24"),
        ("cell.reset", {"cartons": [{"size": [1, 2]}]}, r"cartons\[0\]: size"),
        ("cell.reset", {"cartons": [CARTON | {"mass": -1}]}, r"cartons\[0\]: edges"),
        ("cell.reset", {"cartons": [CARTON], "layout": {"palet": 1}}, "did you mean 'pallet'"),
        ("cell.reset", {"cartons": [CARTON], "layout": {"base_height": 0.4}}, "this stand-in's arm stands 0.75 m"),
        ("cell.reset", {"cartons": [CARTON], "layout": {"stop": "there"}}, "layout.stop"),
    ],
)
def test_bad_questions_get_one_clear_line(cell, name, message, says):
    with pytest.raises(InputError, match=says) as error:
        cell.ask(name, **message)
    assert "\n" not in str(error.value)


def test_a_live_cell_is_asked_while_its_physics_runs():
    cell = Cell("ur20", Sealed.draw(3), live=True)
    running = True

    def physics():
        while running:
            cell.plant.step(cell.plant.target)
            time.sleep(0.0002)

    thread = threading.Thread(target=physics)
    thread.start()
    try:
        cell.ask("cell.reset", cartons=[CARTON] * 3)
        cell.ask("cell.place", carton=0, position=[0.9, 0.0, DECK + 0.12])
        for _ in range(20):
            assert cell.ask("cell.observe")["place"][0] == "put"
        assert cell.ask("cell.judge")["tilt"]["greatest"][0] < 0.003
        with pytest.raises(InputError, match="announced are"):
            cell.ask("cell.place", carton=7, position=[0, 0, 1])
    finally:
        running = False
        thread.join()
    with pytest.raises(InputError, match="physics does not run"):
        cell.ask("cell.observe")


def test_no_carton_is_drawn_in_from_the_side_or_askew(cell):
    vacuum = cell.vacuum
    data = cell.plant.data
    cell.ask("cell.place", carton=0, position=[0.9, 0.0, DECK + 0.12])
    reach(cell, (0.9 + 0.25, 0.0, DECK + 0.24 - 0.001))  # five centimetres beyond its edge
    cell.plant.outputs = VACUUM_OUTPUT
    wait(cell, 0.2)
    assert vacuum.held is None
    assert np.isfinite(data.qpos).all()
    assert mujoco.mj_id2name(cell.plant.model, mujoco.mjtObj.mjOBJ_JOINT, 0) == "shoulder_pan"
