"""The task families: every one of them holds the contract that environments, rollouts and commands rely on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from helpers import SETTINGS, drawn, hold_home, started

import tasks  # noqa: F401 - registers the environments
from assets.errors import InputError
from sim.knobs import Knob, Knobs, Rows
from tasks.families import FAMILIES, family, variation_named
from tasks.rollout import RANDOM, make_policy
from tasks.simulation import CAMERAS, Settings
from tasks.task import TaskFamily

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(params=sorted(FAMILIES))
def task(request: pytest.FixtureRequest) -> TaskFamily:
    return family(request.param)


def test_names_agree(task: TaskFamily) -> None:
    assert FAMILIES[task.name]
    assert (CONF / "task" / f"{task.name}.yaml").is_file()
    assert (CONF / "robot" / task.name / "ur20.yaml").is_file()
    low, high = task.action_bounds(task.layout())
    assert len(low) == len(high) == len(task.action_names)
    assert (low < high).all()
    assert len(set(task.instructions)) == len(task.instructions) >= max(len(task.stages), 1)
    knobs = task.knobs(task.slots)
    assert task.count in knobs
    assert any(knob.shape[:1] == ("slot",) for knob in knobs.values())
    assert ("stage.first" in knobs) == bool(task.stages)


def test_the_tasks_cameras_can_be_varied(task: TaskFamily) -> None:
    layout = task.layout()
    layout.check()
    assert [camera.name for camera in task.scene(layout, 2).cameras] == list(CAMERAS)
    assert all(f"camera.{name}.position" in task.knobs(2) for name in CAMERAS)


def test_settings_survive_json(task: TaskFamily) -> None:
    settings = Settings(task.name, slots=3, cameras=("wrist",), image_size=32)
    assert Settings.from_dict(settings.to_dict()) == settings
    assert Settings(task.name).slots == task.slots
    assert isinstance(settings.layout, task.layout)


def test_every_variation_fits_the_knobs(task: TaskFamily) -> None:
    names = {path.stem for path in (CONF / "variation" / task.name).glob("*.yaml")}
    assert {"nominal", "none", "wide", "widest"} <= names
    for name in names:
        assert len(variation_named(name, task.knobs(max(task.slots, 24)), task.name).sample(0, [0, 1])) == 2
    with pytest.raises(InputError, match="did you mean 'nominal'"):
        variation_named("nominall", task.knobs(2), task.name)


def test_every_policy_can_be_made(task: TaskFamily) -> None:
    settings = Settings(task.name, slots=2)
    for name in (*task.policies, RANDOM):
        assert make_policy(name, settings, 2)
    with pytest.raises(InputError, match="did you mean 'expert'"):
        make_policy("exprt", settings, 1)


def test_the_task_and_its_stages_are_registered(task: TaskFamily) -> None:
    for stage in (None, *task.stages):
        spec = gym.spec(task.environment_id(stage))
        assert spec.kwargs == {"task": task.name, "stage": stage}


def test_unknown_families_and_layouts() -> None:
    with pytest.raises(InputError, match="did you mean 'palletizing'"):
        family("palletising")
    with pytest.raises(InputError, match="layout of its own"):
        Settings("palletizing", layout=3)


def test_a_random_action_lies_within_the_bounds(task: TaskFamily) -> None:
    settings = Settings(task.name, slots=2)
    policy, (low, high) = make_policy(RANDOM, settings, 3), task.action_bounds(settings.layout)
    ids = np.arange(3)
    policy.reset(ids, ids)
    actions = np.concatenate([policy.act({}, ids)[:, 0] for _ in range(50)])
    assert actions.shape == (150, len(task.action_names))
    assert (actions >= low).all()
    assert (actions <= high).all()
    assert (actions.std(0) > 0).all()


def test_the_instruction_is_one_of_the_familys() -> None:
    simulation = started(drawn(2))
    hold_home(simulation, 1)
    assert simulation.task.instruction(np.array([1, 0])) == list(SETTINGS.family.instructions) * 2


def test_one_stage_alone_is_two_knobs() -> None:
    """What `task.stage=fold` does to rows; palletizing has no stages."""
    with pytest.raises(InputError, match="unknown stage of palletizing 'fold': none known"):
        SETTINGS.family.only_stage(drawn(1), "fold")
    staged = dataclasses.replace(SETTINGS.family, stages=("open", "fold"))
    both = (Knob("stage.first", "index", 0, 1, 0, "first"), Knob("stage.last", "index", 0, 1, 1, "last"))
    rows = Rows(Knobs(both, {}), {}, 0, np.arange(3))
    assert staged.only_stage(rows, None) is rows
    fold = staged.only_stage(rows, "fold")
    assert fold["stage.first"].tolist() == fold["stage.last"].tolist() == [1.0, 1.0, 1.0]
    assert rows["stage.first"].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match="did you mean 'fold'"):
        staged.only_stage(rows, "flod")
    assert staged.environment_id("break_down") == "palletlab/Palletizing-BreakDown-v0"
