"""Our tasks and policies in the real vla-eval: its runners, its servers, its wire on loopback, a free port each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytest.importorskip("vla_eval", reason="vla-eval is not installed: pip install palletlab[vla-eval]")

import anyio
import vla_eval_lab as lab
from vla_eval import api
from vla_eval.connection import Connection
from vla_eval.orchestrator import Orchestrator

from assets.errors import InputError
from palletlab.vla_eval.benchmark import PalletlabBenchmark
from palletlab.vla_eval.server import PalletlabServer, main
from palletlab.vla_eval.wiring import Wiring
from policies.dva.load import load
from policies.dva.policy import Cell
from policies.embodiment import Embodiment
from tasks.families import family

ROOT = Path(__file__).parents[2]
OURS = "palletlab.vla_eval.benchmark:PalletlabBenchmark"
# One carton to bring; and one that stands where it belongs from the start, so that the episode soon ends well.
ONE = ["task.slots=2", "variation.carton.count=1"]
DONE = [*ONE, "variation.pallet.prefill=1"]
PARAMS = {"seed": 3, "image_size": 32, "settings": ONE}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slowed down by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    lab.Bench.runs.clear()


def entry(benchmark: str = OURS, **more: Any) -> dict[str, Any]:
    params = more.pop("params", {})
    params = {**PARAMS, **params} if benchmark == OURS else params
    return {"benchmark": benchmark, "params": params, **more}


def run(server: Any, folder: Path, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    config = {"benchmarks": list(entries), "output_dir": str(folder), "server": {"timeout": 60}}
    return api.evaluate(server, config, output_dir=folder)


def episodes(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [episode for task in result["tasks"] for episode in task["episodes"]]


def home() -> np.ndarray:
    return PalletlabBenchmark(**PARAMS).get_hold_action(None)["actions"]


# ---- our tasks, driven by others ------------------------------------------------------------------------------------


def test_a_task_is_driven_step_by_step_and_judged(tmp_path: Path) -> None:
    server = lab.Says(home())
    good, bad = run(
        server,
        tmp_path,
        entry(name="done", params={"settings": DONE}),
        entry(name="idle", max_steps=3),
    )
    assert good["mean_success"] == 1.0
    assert good["mean_pieces"] == 1.0
    assert not good["num_errors"]
    assert [e["metrics"]["reasons"] for e in episodes(good)] == [[]]
    assert episodes(good)[0]["steps"] == pytest.approx(10 * episodes(good)[0]["metrics"]["seconds"])
    (idle,) = episodes(bad)
    assert idle["steps"] == 3
    assert not idle["metrics"]["success"]
    assert idle["metrics"]["reasons"]
    assert idle["metrics"]["done"] == 0
    first, last = server.seen[0], server.seen[-1]
    assert set(first["images"]) == {"cell"}
    assert first["images"]["cell"].shape == (32, 32, 3)
    assert first["images"]["cell"].std() > 5
    assert first["task_description"] in family("palletizing").instructions
    assert first["state"].shape == (len(family("palletizing").state_names),)
    assert np.abs(last["state"][:6] - home()[:6]).max() < 0.02  # it stands where it was told to


def test_the_same_variants_as_a_rollout_draws(tmp_path: Path) -> None:
    from palletlab import config

    bench = PalletlabBenchmark(**PARAMS)
    drawn, _ = config.rows_of(config.load("rollout", [*ONE, "seed=3", "count=3"]))
    for number in (2, 0):
        bench.reset({"episode_idx": number})
        assert bench._rows is not None
        for knob in ("carton.size", "carton.mass", "light.intensity"):
            np.testing.assert_array_equal(bench._rows[knob][0], drawn[knob][number])
    bench.cleanup()


def test_a_stage_of_the_other_task_with_the_camera_at_the_wrist(tmp_path: Path) -> None:
    told = PalletlabBenchmark(task="tote_breakdown").get_tasks()
    names = [task["name"] for task in told]
    assert names == ["tote_breakdown", *(f"tote_breakdown/{s}" for s in family("tote_breakdown").stages)]
    assert told[0]["action_names"] == list(family("tote_breakdown").action_names)
    hold = PalletlabBenchmark(task="tote_breakdown").get_hold_action(None)["actions"]
    server = lab.Says(hold, wrist=True)
    params = {"task": "tote_breakdown", "settings": ["task.slots=2", "variation.part.count=1"]}
    (result,) = run(server, tmp_path, entry(params=params, tasks=["tote_breakdown/stack"], max_steps=2))
    assert [task["task"] for task in result["tasks"]] == ["tote_breakdown/stack"]
    assert episodes(result)[0]["steps"] == 2
    assert set(server.seen[0]["images"]) == {"cell", "wrist"}


def live(server: Any, folder: Path, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    """Run without a recording, whose results lack the figures of live mode; return the episodes, one for each entry."""
    config: dict[str, Any] = {"benchmarks": [{**e, "mode": "live", "hz": 20} for e in entries]}
    with api.serve_background(server) as handle:
        config |= {"server": {"url": handle.url}, "output_dir": str(folder)}
        results = anyio.run(Orchestrator(config, no_save=True).run)
    assert not any(result["num_errors"] for result in results), results
    return [episodes(result)[0] for result in results]


def test_live_the_world_moves_on_while_a_server_thinks(tmp_path: Path) -> None:
    target = home()
    target[0] += 0.3
    lab.Watched.actions.clear()
    server = lab.Says(target, lab.Watched.gate)
    watched = {**entry(max_steps=400), "benchmark": "vla_eval_lab:Watched"}
    (episode,) = live(server, tmp_path, watched | {"params": PARAMS})
    told = np.array(lab.Watched.actions)
    assert episode["steps"] == len(told) >= 8
    assert episode["rt_metrics"]["update_count"] >= 1
    assert episode["rt_metrics"]["stale_count"] >= 6
    assert episode["metrics"]["seconds"] == pytest.approx(len(told) / 10)
    # Before the first action it held itself where it stood: it did not fall to zero.
    assert np.abs(told[:6] - home()).max() < 0.02
    np.testing.assert_allclose(told[-1], target, atol=1e-6)


def test_wrong_actions_are_told_in_one_line(tmp_path: Path) -> None:
    for action, says in ((np.zeros(6), "(6,)"), (np.zeros((4, 7)), "chunk_size says how much of a chunk")):
        (result,) = run(lab.Says(action), tmp_path / str(action.ndim), entry(max_steps=3))
        (episode,) = episodes(result)
        assert episode["failure_reason"] == "env_step"
        assert says in episode["failure_detail"]
        assert "joint0.position" in episode["failure_detail"]


def test_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(InputError, match="palletizing"):
        PalletlabBenchmark(task="paletizing")
    with pytest.raises(InputError, match="ur20"):
        PalletlabBenchmark(settings=["robot=ur21"])


def test_the_example_names_what_there_is() -> None:
    config = yaml.safe_load((ROOT / "conf/vla_eval/benchmark.yaml").read_text())
    for given in config["benchmarks"]:
        assert given["benchmark"] == OURS
        known = {task["name"] for task in PalletlabBenchmark(**given["params"]).get_tasks()}
        assert set(given.get("tasks", ())) <= known


# ---- our policies, driving others -----------------------------------------------------------------------------------

WIRES = {
    "cameras": {"cell": "front", "wrist": "hand"},
    "state": ["suction.holding", "joint1.position", "joint0.position"],
    "action": ["suction", "joint1.position", "joint0.position"],
}
BENCH = entry("vla_eval_lab:Bench")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab.checkpoint(tmp_path_factory.mktemp("toy"))


def test_a_checkpoint_drives_a_benchmark_of_other_names(toy: Path, tmp_path: Path) -> None:
    (result,) = run(PalletlabServer(str(toy), **WIRES), tmp_path, BENCH)
    assert result["mean_success"] == 1.0
    (bench,) = lab.Bench.runs
    cell = Cell("toy", lab.TOY.proprio, lab.TOY.actions, ("cell", "wrist"), 0.1)
    policy = load(toy, cell, 1)
    policy.reset(np.array([0]), np.array([0]))
    moved = 0.0
    for seen, done in zip(bench.observations, bench.actions, strict=False):
        observation = {
            "cell": seen["images"]["front"][None],
            "wrist": seen["images"]["hand"][None],
            "state": seen["states"][None, ::-1],
            "instruction": np.array(["Go right."]),
        }
        chunk = policy.act(observation, np.array([0]))[0]
        np.testing.assert_allclose(done["chunk"], chunk[:, ::-1], atol=1e-6)
        np.testing.assert_array_equal(done["actions"], done["chunk"][0])
        moved = max(moved, float(np.abs(done["actions"] - bench.actions[0]["actions"]).max()))
    assert len(bench.actions) == 6
    assert moved > 1e-4  # it did decide something


def test_two_shards_are_served_at_a_time_and_a_third_is_refused(toy: Path, tmp_path: Path) -> None:
    async def talk(url: str) -> tuple[list[np.ndarray], str]:
        bench = lab.Bench()
        bench.reset({})
        obs = bench.make_obs(None, {})
        async with Connection(url) as one, Connection(url) as two, Connection(url) as three:
            for connection in (one, two):
                await connection.start_episode({"task": {}})
            found = []
            for _ in range(4):  # in turn: each is decided for alone
                found += [await connection.act(obs) for connection in (one, two)]
            await three.start_episode({"task": {}})
            with pytest.raises(RuntimeError) as refused:
                await three.act(obs)
            await one.end_episode({})
        return [answer["actions"] for answer in found], str(refused.value)

    with api.serve_background(PalletlabServer(str(toy), sessions=2, **WIRES)) as handle:
        actions, refused = anyio.run(talk, handle.url)
    np.testing.assert_allclose(actions[0::2], actions[1::2], atol=1e-6)
    assert "2 benchmarks are served already" in refused


def test_live_it_answers_at_once_and_says_nothing_while_nothing_is_decided(toy: Path, tmp_path: Path) -> None:
    server, gate = PalletlabServer(str(toy), **WIRES), threading.Event()
    decide, decided = server.policy.decider.decide, []

    def gated(questions: Any) -> Any:
        assert gate.wait(30)
        decided.append(len(questions))
        return decide(questions)

    server.policy.decider.decide = gated
    # The two frames in flight at the beginning are to hold: these are answered, then the arm holds by itself.
    (held,) = live(server, tmp_path, {**BENCH, "params": {"length": 40}})
    assert not decided
    assert held["rt_metrics"]["update_count"] == 2
    assert held["rt_metrics"]["stale_count"] >= 37
    gate.set()
    (moved,) = live(server, tmp_path, {**BENCH, "params": {"length": 600, "enough": 7}})
    assert moved["steps"] < 600
    assert len(decided) >= 3
    assert server._free == [0]


def test_what_does_not_fit_is_told(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind of checkpoint"):
        PalletlabServer(str(toy), kind="diva")
    with pytest.raises(InputError, match="no such folder"):
        PalletlabServer(str(tmp_path / "none"))
    with pytest.raises(InputError, match="camera of the checkpoint"):
        PalletlabServer(str(toy), cameras={"front": "cell"})
    with pytest.raises(InputError, match="text of the checkpoint"):
        PalletlabServer(str(toy), instruction="Go up.")
    for settings, says in (
        (WIRES | {"cameras": {}}, "camera of the benchmark"),
        (WIRES | {"state": None, "action": None}, ""),
        (WIRES | {"state": WIRES["state"][:2]}, "joint0.position"),
        (WIRES | {"state": [*WIRES["state"], "more"]}, "a state of 3 numbers, 4 were expected"),
    ):
        server = PalletlabServer(str(toy), **settings)
        (result,) = run(server, tmp_path / f"{abs(hash(says))}", BENCH)
        (episode,) = episodes(result)
        assert says in episode.get("failure_detail", ""), episode
    foreign = {**BENCH, "params": {"text": "Go up."}}
    (result,) = run(PalletlabServer(str(toy), **WIRES), tmp_path / "text", foreign)
    assert "Go up." in episodes(result)[0]["failure_detail"]


def test_wiring_takes_columns_by_name() -> None:
    wiring = Wiring.of({"cell": "front"}, ("a", "b"), ("a", "t"), ("x", "b", "a"), ("t", "a"))
    picture = np.zeros((4, 4, 3), np.uint8)
    seen = wiring.observed({"images": {"front": picture}, "state": [9.0, 2.0, 1.0]})
    assert seen["state"].tolist() == [1.0, 2.0]
    assert seen["cell"] is picture
    assert wiring.action(np.array([[5.0, 6.0]])).tolist() == [[6.0, 5.0]]
    with pytest.raises(InputError, match="uint8 is wanted"):
        wiring.observed({"images": {"front": picture.astype(np.float32)}, "state": [9.0, 2.0, 1.0]})


# ---- ours with ours --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def palletizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    task = family("palletizing")
    features = {
        key: {"names": list(names), "shape": [len(names)]}
        for key, names in (("observation.state", task.state_names), ("action", task.action_names))
    }
    body = Embodiment.of({"robot_type": "ur20", "features": features})
    return lab.checkpoint(tmp_path_factory.mktemp("palletizer"), body, task.instructions)


def test_our_policy_drives_our_task_without_a_word_of_wiring(palletizer: Path, tmp_path: Path) -> None:
    step, live = run(
        PalletlabServer(str(palletizer)),
        tmp_path,
        entry(name="step", max_steps=5),
        entry(name="live", mode="live", hz=10, max_steps=12),
    )
    assert not step["num_errors"], episodes(step)
    assert not live["num_errors"], episodes(live)
    assert [episodes(step)[0]["steps"], episodes(live)[0]["steps"]] == [5, 12]


def test_the_server_as_a_command(palletizer: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "palletlab.vla_eval.server", "--args.checkpoint", str(palletizer)]
    server = subprocess.Popen(
        [*command, "--address", "127.0.0.1:0"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    try:
        assert server.stderr is not None
        said = []
        while b"server listening on " not in (line := server.stderr.readline()):
            said.append(line)
            assert line, said
        address = line.split()[-1].decode()
        config = {"benchmarks": [entry(name="little", max_steps=2)]}
        (result,) = api.run(config, server_url=f"ws://{address}", output_dir=tmp_path)
    finally:
        server.kill()
        server.communicate()
    assert episodes(result)[0]["steps"] == 2
    assert result["server_info"]["model_server"] == "PalletlabServer"


def test_the_command_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["server", "--args.checkpoint", str(tmp_path)])
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"palletlab.vla_eval: {tmp_path}: holds no 'video'")
