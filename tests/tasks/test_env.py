"""The Gymnasium environments: spaces, ids, both kinds of autoreset, what the infos say, and what wrong input does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tote_helpers
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from helpers import SMALL, Box, drawn, rows_of

import tasks  # noqa: F401 - registers the environments
from assets.errors import InputError
from sim.variations import Variation
from tasks.env import TaskEnv, TaskVectorEnv
from tasks.palletizing.expert import PalletizingExpert
from tasks.palletizing.task import SETTLE, STATE_NAMES, SURROUNDINGS_NAMES
from tasks.simulation import Settings

SETTINGS = Settings(slots=4)
NAME, STACKING = "palletlab/Palletizing-v0", "palletlab/ToteBreakdown-Stack-v0"
# A load that stands whole from the start: the episode ends after SETTLE steps.
DONE = rows_of([Box()], pallet__prefill=1)


def table(loads: list[int]) -> Any:
    """Rows of two cartons each, of which so many stand on the pallet already: 2 ends after SETTLE steps, 0 goes on."""
    load = [Box((-0.3, 0.0, 0.0)), Box((0.3, 0.0, 0.0))]
    return rows_of(load, len(loads), pallet__prefill=np.array(loads))


def vector(num_envs: int, variants: Any, **more: Any) -> TaskVectorEnv:
    return TaskVectorEnv(num_envs, settings=more.pop("settings", SETTINGS), variants=variants, nthread=1, **more)


def stay(env: Any) -> np.ndarray:
    """The action that holds the arms at home."""
    home = env.unwrapped.simulation.task.cell.home
    action = np.zeros(env.single_action_space.shape, np.float32)
    action[: len(home)] = home
    return np.tile(action, (env.num_envs, 1))


def totes() -> dict[str, Any]:
    """Arguments of the environment in which empty totes are stacked, four small variants of it."""
    variants = tote_helpers.tote_rows(4, tote__kind=[0, 1, 2, 3], pile__count=[1, 0, 2, 1])
    return {"settings": tote_helpers.SETTINGS, "variants": variants, "nthread": 1}


def stackers(num_envs: int, **more: Any) -> TaskVectorEnv:
    made = gym.make_vec(STACKING, num_envs=num_envs, **totes(), **more).unwrapped
    assert isinstance(made, TaskVectorEnv)
    return made


def until_it_ends(env: TaskVectorEnv, world: int, *others: TaskVectorEnv) -> list[Any]:
    """Set a world's tote onto its pile, and step till its episode ends; return what each environment said last."""
    for e in (env, *others):
        e.step(stay(e))
        tote_helpers.put_on_pile(e.simulation.task, [world])  # type: ignore[arg-type]
    for _ in range(2 * SETTLE):
        said = [e.step(stay(e)) for e in (env, *others)]
        if said[0][2][world]:
            return said
    raise AssertionError("it did not end")


# ---- spaces and ids --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NAME, STACKING])
def test_gymnasiums_own_checks_pass(name: str) -> None:
    given = {"settings": SETTINGS, "variants": table([0]), "nthread": 1} if name == NAME else totes()
    env = gym.make(name, **given)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_env(env.unwrapped, skip_render_check=True)
    # Its only complaints: observations have no bounds, the action space is that of an arm.
    for warning in told:
        assert any(k in str(warning.message) for k in ("infinity", "symmetric", "render")), warning.message
    env.close()


@pytest.mark.parametrize("name", [NAME, STACKING])
def test_the_registered_id_makes_both_kinds(name: str) -> None:
    given = {"settings": SETTINGS, "variants": DONE, "nthread": 1} if name == NAME else totes()
    single = gym.make(name, **given)
    assert isinstance(single.unwrapped, TaskEnv)
    observation, info = single.reset(seed=0)
    assert observation in single.observation_space
    assert info["variant"] == 0
    single.close()
    many = gym.make_vec(name, num_envs=3, **given)
    assert isinstance(many.unwrapped, TaskVectorEnv)
    assert many.num_envs == 3
    assert many.spec is not None
    many.close()


def test_spaces_dtypes_and_shapes() -> None:
    env = vector(3, table([0]))
    assert env.single_action_space.shape == (7,)
    assert env.action_space.shape == (3, 7)
    observation, _ = env.reset(seed=4)
    assert observation in env.observation_space
    assert {k: (v.shape, v.dtype) for k, v in observation.items()} == {
        "state": ((3, len(STATE_NAMES)), np.float32),
        "environment_state": ((3, len(SURROUNDINGS_NAMES)), np.float32),
    }
    env.action_space.seed(0)
    for _ in range(3):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert (reward.shape, reward.dtype) == ((3,), np.float64)
        assert (terminated.shape, terminated.dtype) == (truncated.shape, truncated.dtype) == ((3,), np.bool_)
        assert info["variant"].tolist() == [0, 1, 2]
    env.close()


def test_cameras_are_part_of_the_observation() -> None:
    settings = Settings(slots=4, cameras=("cell", "wrist"), image_size=48)
    env = vector(2, table([0, 1]), settings=settings, render_mode="rgb_array")
    observation, _ = env.reset()
    assert observation in env.observation_space
    for camera in ("cell", "wrist"):
        assert env.single_observation_space[camera] == gym.spaces.Box(0, 255, (48, 48, 3), np.uint8)
        assert observation[camera].shape == (2, 48, 48, 3)
        assert observation[camera].std() > 5  # something is to be seen
    assert np.abs(observation["cell"][0].astype(int) - observation["cell"][1]).max() > 20  # a carton more
    frames = env.render()
    assert frames is not None
    assert [f.tobytes() for f in frames] == [p.tobytes() for p in observation["cell"]]
    env.close()


def test_a_render_mode_without_a_camera_takes_the_cell_view() -> None:
    env = TaskEnv("rgb_array", variants=DONE, settings=Settings(slots=4, cameras=("cell",), image_size=32))
    env.reset(seed=0)
    picture = env.render()
    assert picture is not None
    assert picture.shape == (32, 32, 3)
    env.close()
    with pytest.raises(InputError, match="camera"):
        TaskEnv("rgb_array", variants=DONE, settings=SETTINGS)
    with pytest.raises(InputError, match="rgb_array"):
        TaskEnv("human", variants=DONE, settings=SETTINGS)


# ---- ends and autoreset ----------------------------------------------------------------------------------------------


def test_next_step_autoreset() -> None:
    """After an end, the next step ignores the action, resets, and gives reward 0 and no end (Gymnasium's NEXT_STEP)."""
    env = vector(2, table([2, 0, 0, 0]))
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    env.reset()
    for _ in range(SETTLE):
        last, reward, terminated, truncated, info = env.step(stay(env))
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert info["variant"].tolist() == [0, 1]
    # The last observation is that of the old episode.
    assert last["environment_state"][0, SURROUNDINGS_NAMES.index("load.remaining")] == 0
    assert info["success"][0]
    assert info["reasons"][0] == []
    assert info["seconds"][0] == pytest.approx(SETTLE * 0.1)
    for key in ("success", "reasons", "seconds"):
        assert info[f"_{key}"].tolist() == [True, False]
    # What is asked for in the resetting step does not matter, not even nonsense.
    wild = stay(env)
    wild[0] += 0.3
    first, reward, terminated, truncated, info = env.step(wild)
    assert not terminated.any()
    assert not truncated.any()
    assert reward[0] == 0
    assert reward[1] == pytest.approx(-0.001)
    assert info["variant"].tolist() == [2, 1]
    assert not {"success", "reasons"} & info.keys()
    fresh = vector(2, table([2, 0, 0, 0]))
    begin, _ = fresh.reset(options={"variants": [2, 1]})
    for name in begin:
        assert first[name][0].tobytes() == begin[name][0].tobytes()
    # And the new episode runs like any other.
    second, *_ = env.step(stay(env))
    other, *_ = fresh.step(stay(env))
    for name in other:
        assert second[name][0].tobytes() == other[name][0].tobytes()


def test_same_step_autoreset() -> None:
    """The ending step returns the new episode's observation; the old one's last stands in final_obs and final_info."""
    env = vector(2, table([2, 0, 0, 0]), autoreset_mode="SameStep")
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    twin = vector(2, table([2, 0, 0, 0]))
    env.reset()
    twin.reset()
    for k in range(SETTLE):
        seen, reward, terminated, _, info = env.step(stay(env))
        last, same_reward, *_, twin_info = twin.step(stay(env))
        np.testing.assert_array_equal(reward, same_reward)
        assert ("final_obs" in info) == (k == SETTLE - 1)
    assert terminated.tolist() == [True, False]
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [True, False]
    assert info["final_obs"].dtype == object
    assert info["final_obs"][1] is None
    for name, value in info["final_obs"][0].items():
        assert value.tobytes() == last[name][0].tobytes()
    assert info["variant"].tolist() == [2, 1]
    final = info["final_info"]
    assert final["variant"][0] == 0
    for key in ("success", "reasons", "seconds", "variant"):
        assert final[f"_{key}"].tolist() == [True, False]
    assert final["success"][0] == twin_info["success"][0]
    begin, _ = vector(2, table([2, 0, 0, 0])).reset(options={"variants": [2, 1]})
    for name in begin:
        assert seen[name][0].tobytes() == begin[name][0].tobytes()
        # The other world has not noticed, its sensor noise included.
        assert seen[name][1].tobytes() == last[name][1].tobytes()
    _, reward, terminated, *_ = env.step(stay(env))
    assert reward[0] == pytest.approx(-0.001)
    assert not terminated.any()


def test_a_task_a_stage_or_settings_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="did you mean 'palletizing'"):
        TaskEnv(task="palletising")
    with pytest.raises(InputError, match="unknown stage of palletizing 'decant'"):
        TaskEnv(task="palletizing", stage="decant")
    with pytest.raises(InputError, match="task = 'totes', but the settings are for 'palletizing'"):
        TaskEnv(task="totes", settings=SETTINGS)


def test_an_unknown_autoreset_mode_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="NextStep"):
        vector(1, DONE, autoreset_mode="NexStep")
    assert vector(1, DONE, autoreset_mode=AutoresetMode.SAME_STEP).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_running_out_of_time_truncates_and_says_what_is_missing() -> None:
    env = vector(1, rows_of([Box()]))
    env.reset()
    for k in range(290):
        _, _, terminated, truncated, info = env.step(stay(env))
        assert truncated[0] == (k == 289)
        assert not terminated[0]
    assert not info["success"][0]
    assert info["reasons"][0] == ["carton 0 not placed in time"]


def test_a_broken_world_is_truncated_with_the_reason_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves its log there
    env, twin = vector(3, table([0] * 6)), vector(3, table([0] * 6))
    env.reset()
    twin.reset()
    for e in (env, twin):
        for _ in range(3):
            e.step(stay(e))
    env.simulation.worlds.qvel[1, env.simulation.scene.slot_dofs[0]] = np.nan
    seen, reward, terminated, truncated, info = env.step(stay(env))
    expected, *_ = twin.step(stay(twin))
    assert truncated.tolist() == [False, True, False]
    assert not terminated.any()
    assert info["broken"][1]
    assert info["_broken"].tolist() == [False, True, False]
    assert not info["success"][1]
    assert info["reasons"][1] == [f"broken: {info['broken'][1]}"]
    assert np.isfinite(reward).all()
    for _ in range(3):
        for name in seen:
            assert np.isfinite(seen[name]).all()  # nothing that would spoil a learner's batch
            assert seen[name][[0, 2]].tobytes() == expected[name][[0, 2]].tobytes()
        seen, _, terminated, truncated, info = env.step(stay(env))
        expected, *_ = twin.step(stay(twin))
        assert not (terminated | truncated).any()
        assert info["variant"].tolist() == [0, 4, 2]


# ---- the same rules for totes ----------------------------------------------------------------------------------------


def test_spaces_of_the_tote_environment() -> None:
    env, family = stackers(2), tote_helpers.SETTINGS.family
    assert env.single_action_space.shape == (8,)
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    assert {k: v.shape for k, v in observation.items()} == {
        "state": (2, len(family.state_names)),
        "environment_state": (2, len(family.surroundings_names(4))),
    }
    stage = family.surroundings_names(4).index("stage")
    assert observation["environment_state"][:, stage].tolist() == [family.stages.index("stack")] * 2
    env.action_space.seed(0)
    for _ in range(10):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert np.isfinite(reward).all()
        assert not (terminated | truncated).any()


def test_next_step_autoreset_of_totes() -> None:
    env, fresh = stackers(2), stackers(2)
    env.reset()
    ((last, _, terminated, truncated, info),) = until_it_ends(env, 0)
    assert terminated.tolist() == [True, False]
    assert not truncated.any()
    assert info["success"].tolist() == [True, False]
    assert info["reasons"][0] == []
    assert info["_success"].tolist() == [True, False]
    wild = stay(env)
    wild[0] += 0.3
    first, reward, terminated, truncated, info = env.step(wild)
    assert not (terminated | truncated).any()
    assert reward[0] == 0
    assert info["variant"].tolist() == [2, 1]
    begin, _ = fresh.reset(options={"variants": [2, 1]})
    second, *_ = env.step(stay(env))
    other, *_ = fresh.step(stay(fresh))
    for name in begin:
        assert first[name][0].tobytes() == begin[name][0].tobytes()
        assert second[name][0].tobytes() == other[name][0].tobytes()
        assert last[name][0].tobytes() != begin[name][0].tobytes()


def test_same_step_autoreset_of_totes() -> None:
    env, twin, fresh = stackers(2, autoreset_mode="SameStep"), stackers(2), stackers(2)
    env.reset()
    twin.reset()
    (seen, reward, terminated, _, info), (last, same_reward, *_, twin_info) = until_it_ends(env, 0, twin)
    np.testing.assert_array_equal(reward, same_reward)
    assert terminated.tolist() == [True, False]
    assert info["variant"].tolist() == [2, 1]
    assert info["_final_obs"].tolist() == [True, False]
    assert info["final_info"]["success"][0] == twin_info["success"][0]
    assert info["final_info"]["variant"][0] == 0
    begin, _ = fresh.reset(options={"variants": [2, 1]})
    for name in begin:
        assert info["final_obs"][0][name].tobytes() == last[name][0].tobytes()
        assert seen[name][0].tobytes() == begin[name][0].tobytes()
        assert seen[name][1].tobytes() == last[name][1].tobytes()


# ---- reset -----------------------------------------------------------------------------------------------------------


def test_reset_takes_variants_and_a_seed() -> None:
    variation = Variation.parse("small", SMALL, SETTINGS.knobs)
    env = TaskVectorEnv(2, settings=SETTINGS, variation=variation, nthread=1)
    one, info = env.reset(seed=7, options={"variants": [5, 3]})
    assert info["variant"].tolist() == [5, 3]
    two, _ = env.reset(options={"variants": [3, 5]})  # the seed stays
    for name in one:
        assert one[name].tobytes() == two[name][::-1].tobytes()
    other, _ = env.reset(seed=8, options={"variants": [3, 5]})
    assert (other["environment_state"] != two["environment_state"]).any()
    _, info = env.reset()
    assert info["variant"].tolist() == [0, 1]
    for wrong, why in (([1, 2, 3], "wants 2 numbers"), ([0, -1], "from 0")):
        with pytest.raises(InputError, match=why):
            env.reset(options={"variants": wrong})
    with pytest.raises(InputError, match="one number"):
        env.reset(seed=[1, 2])


def test_a_single_environment_goes_through_the_variants() -> None:
    env = TaskEnv(settings=SETTINGS, variants=table([2, 0]), nthread=1)
    assert [env.reset(seed=0)[1]["variant"], env.reset()[1]["variant"], env.reset()[1]["variant"]] == [0, 1, 2]
    assert env.reset(options={"variant": 6})[1]["variant"] == 6
    assert env.reset(seed=0)[1]["variant"] == 0
    for k in range(SETTLE):
        _, reward, terminated, truncated, info = env.step(np.append(env.unwrapped._vector.simulation.task.cell.home, 0))
        assert isinstance(reward, float)
        assert terminated == (k == SETTLE - 1)
        assert not truncated
    assert info["success"] is True
    assert info["reasons"] == []


# ---- actions ---------------------------------------------------------------------------------------------------------


def test_wrong_actions_get_one_clear_line() -> None:
    env = vector(2, table([0]))
    with pytest.raises(InputError, match="reset"):
        env.step(np.zeros((2, 7)))
    env.reset()
    for shape in ((2, 6), (1, 7), (7,), (2, 7, 1)):
        with pytest.raises(InputError, match=r"shape \(2, 7\)"):
            env.step(np.zeros(shape))
    single = TaskEnv(settings=SETTINGS, variants=DONE, nthread=1)
    single.reset()
    with pytest.raises(InputError, match="shape"):
        single.step(np.zeros(6))


def test_a_target_that_is_not_finite_holds_the_joint() -> None:
    env = vector(3, table([0] * 3))
    env.reset()
    action = stay(env)
    action[0], action[1, :6] = np.nan, np.inf
    for _ in range(5):
        seen, *_, truncated, _ = env.step(action)
    assert not truncated.any()
    home = env.simulation.task.cell.home
    np.testing.assert_allclose(seen["state"][:, :6], np.tile(home, (3, 1)), atol=2e-3)


def test_targets_out_of_range_are_cut_to_what_the_arm_can_do() -> None:
    env = vector(1, table([0]))
    env.reset()
    joints = SETTINGS.layout.arm.body.joints()
    before = env.simulation.task.cell.home
    env.step(np.full((1, 7), 1e9, np.float32))
    moved = env.simulation.task.cell.servo.history[0, -1] - before
    assert (moved <= np.array([j.velocity_limit for j in joints]) * 0.1 + 1e-12).all()


# ---- learning with it ------------------------------------------------------------------------------------------------


def test_record_episode_statistics_works() -> None:
    for mode in ("NextStep", "SameStep"):
        env = RecordEpisodeStatistics(vector(2, table([2, 2, 1, 1]), autoreset_mode=mode))
        env.reset()
        for _ in range(SETTLE):
            *_, info = env.step(stay(env))
        assert info["episode"]["l"].tolist() == [SETTLE, SETTLE]
        np.testing.assert_allclose(info["episode"]["r"], -0.001 * SETTLE)
        assert env.episode_count == 2
        env.step(stay(env))


def test_infos_can_be_turned_into_a_list() -> None:
    for mode in ("NextStep", "SameStep"):
        env = DictInfoToList(vector(2, table([2, 0, 1, 1]), autoreset_mode=mode))
        _, info = env.reset()
        assert info == [{"variant": 0}, {"variant": 1}]
        for _ in range(SETTLE):
            *_, info = env.step(stay(env))
        ended = info[0] if mode == "NextStep" else info[0]["final_info"]
        assert ended == {"variant": 0, "success": True, "reasons": [], "seconds": pytest.approx(0.8)}
        assert info[1] == {"variant": 1}


def test_a_policy_runs_for_many_episodes() -> None:
    """The loop of a learner, with the expert in the learner's place: transitions across ends are left out."""
    rows = drawn(6, prefill=2)
    env = vector(3, rows)
    policy = PalletizingExpert(SETTINGS.layout, 3)
    observation, info = env.reset()
    policy.reset(np.arange(3), info["variant"])
    ended, successes, returns, total = np.zeros(3, bool), {}, [], np.zeros(3)
    while len(successes) < 6:
        action = policy.act(observation, np.arange(3))[:, 0].astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        total = np.where(ended, 0.0, total + reward)
        if ended.any():
            policy.reset(np.flatnonzero(ended), info["variant"][ended])
        ended = terminated | truncated
        for i in np.flatnonzero(ended):
            successes[int(info["variant"][i])] = bool(info["success"][i])
            returns.append(total[i])
    assert all(successes.values())
    assert set(range(6)) <= successes.keys()
    assert 0.8 < min(returns) < max(returns) < 1.0  # one carton placed, a hundredth a second lost
