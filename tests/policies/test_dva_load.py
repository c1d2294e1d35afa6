"""Checkpoints of the loop: tiny networks, saved, loaded, put to work in a cell, served; and what does not fit."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assets.errors import InputError
from policies.checkpoint import save
from policies.data.statistics import Scale, Statistics
from policies.data.view import View
from policies.dva import __main__ as serve
from policies.dva.load import load, load_models, summary
from policies.dva.policy import Cell, DVAPolicy
from policies.dva.remote import RemoteDecider
from policies.dva.server import PolicyServer, described
from policies.embodiment import Embodiment
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

STATE = ("joint0.position", "joint1.position", "suction.holding")
ACTION = ("joint0.position", "joint1.position", "suction")
CELL = Cell("toy", STATE, ACTION, ("cell", "wrist"), 0.05)
BODY = Embodiment("toy+suction", STATE[:2], (), STATE[2:], ACTION)
WIDE = Embodiment(
    "big", tuple(f"joint{i}.position" for i in range(4)), (), (), tuple(f"joint{i}.position" for i in range(4))
)
VIEWS = (View("wrist", (0.0, 0.0, 0.5, 0.5), 16), View("cell", size=16))


def tiny(folder: Path, seed: int = 0, **changed: Any) -> Path:
    """Write a checkpoint of networks that nobody trained, with weights large enough to do something."""
    torch.manual_seed(seed)
    known, stride = (WIDE, BODY), 2
    proprio, actions = action_widths(known, stride)
    tokenizer = Autoencoder(16, 2, 4, (2, 2), 16)
    config = VideoConfig(
        width=16, depth=2, heads=2, kv_heads=1, views=2, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8,
        local=4, anchors=1, proprio=proprio, actions=actions, tasks=2, embodiments=2,
    )  # fmt: skip
    widths = proprio, actions // stride
    statistics = Statistics(*(Scale(torch.zeros(2, n), torch.ones(2, n)) for n in widths))
    meaning = Meaning(VIEWS, 10.0, stride, ("Go left.", "Go right."), known, statistics)
    network = VideoNetwork(tokenizer, VideoModel(config), meaning)
    idm = IDMConfig(("wrist", "cell"), 4, *widths, stride, 2, 16, 16, 1, 2)
    inverse = InverseDynamics(idm)
    for number, body in enumerate((BODY, WIDE)):  # numbered otherwise than in the video model
        inverse.targets[number, : len(body.actions)] = torch.tensor(body.target_of)
    for parameter in (*network.model.parameters(), *inverse.parameters()):
        parameter.data += 0.05 * torch.randn_like(parameter)
    about = dataclasses.replace(meaning, embodiments=(BODY, WIDE)).about
    about |= {"kind": "idm", "config": dataclasses.asdict(idm)}
    save(folder / "video", network.state_dict(), network.about)
    save(folder / "idm", inverse.state_dict(), about | changed)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slowed down by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("dva") / "checkpoint")


def fly(policy: DVAPolicy, worlds: list[int], periods: int = 26, variants: list[int] | None = None) -> np.ndarray:
    """Act in worlds whose pictures say where the arm is; return (periods, worlds, actions)."""
    ids, done = np.array(worlds), []
    policy.reset(ids, ids if variants is None else np.array(variants))
    state, pattern = np.zeros((len(ids), 3), np.float32), np.random.default_rng(0).integers(0, 200, (32, 32, 3))
    for _ in range(periods):
        picture = np.clip(pattern + 50 * state[:, :2].sum(1)[:, None, None, None], 0, 255).astype(np.uint8)
        texts = np.array(["Go right."] * len(ids))
        action = policy.act({"state": state, "cell": picture, "wrist": picture[:, ::-1], "instruction": texts}, ids)[
            :, 0
        ]
        state[:, :2] = 0.7 * state[:, :2] + 0.3 * action[:, :2]
        done.append(action)
    return np.stack(done)


def test_a_checkpoint_is_put_to_work_and_comes_out_the_same_every_time(checkpoint: Path) -> None:
    way = fly(load(checkpoint, CELL, 1, steps=2), [0])
    assert way.dtype == np.float32
    assert np.isfinite(way).all()
    assert (way[:8] == 0).all()
    assert len(np.unique(way[8:, 0, 0])) > 10
    np.testing.assert_array_equal(way, fly(load(checkpoint, CELL, 1, steps=2), [0]))
    assert not np.array_equal(way, fly(load(checkpoint, CELL, 1, steps=2), [0], variants=[5]))  # other noise
    assert not np.array_equal(way, fly(load(checkpoint, CELL, 1, steps=1), [0]))


def test_a_world_does_what_it_would_do_alone(checkpoint: Path) -> None:
    both = fly(load(checkpoint, CELL, 3, steps=1), [2, 0], variants=[4, 1])
    alone = [fly(load(checkpoint, CELL, 1, steps=1), [0], variants=[n]) for n in (4, 1)]
    np.testing.assert_array_equal(both, np.concatenate(alone, axis=1))


def test_rhythm_and_summary(checkpoint: Path, tmp_path: Path) -> None:
    policy = load(checkpoint, CELL, 1)
    assert dataclasses.astuple(policy.rhythm) == (2, 4, 4, 0.05)
    assert dataclasses.astuple(load(checkpoint, CELL, 1, chunk=3, lead=0).rhythm) == (2, 3, 0, 0.05)
    told = summary(checkpoint)
    assert told.cameras == ("wrist", "cell")
    assert told == summary(str(checkpoint))
    assert told.hash == load_models(checkpoint).hash
    assert told.hash != summary(tiny(tmp_path / "other", seed=1)).hash


def test_served_it_does_the_same(checkpoint: Path) -> None:
    models = load_models(checkpoint)
    rhythm, meaning = models.rhythm(), models.video.meaning
    about = described(models.hash, meaning.views, BODY, meaning.texts, rhythm)
    with (
        PolicyServer(models.decider(BODY, rhythm, 2, 1), about, 2, port=0) as server,
        RemoteDecider(*server.address, checkpoint=models.hash, budget=10.0) as remote,
    ):
        way = fly(remote.policy(CELL, 2), [0, 1])
        np.testing.assert_array_equal(way, fly(load(checkpoint, CELL, 2, steps=1), [0, 1]))
        assert remote.policy(CELL, lead=2).rhythm.lead == 2
        with pytest.raises(InputError, match=r"the checkpoint knows toy\+suction; the cell has ur5"):
            remote.policy(dataclasses.replace(CELL, robot="ur5"))


# ---- what does not fit -----------------------------------------------------------------------------------------------


def complaint(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"robot": "ur5"}, "the checkpoint knows big, toy+suction; the cell has ur5+suction"),
        ({"cameras": ("cell",)}, "camera of the cell, which the checkpoint sees, 'wrist'"),
        ({"action_names": ACTION[:2]}, "the cell has toy, with joint0.position"),
        ({"period": 0.1}, "acts 20 times a second, 2 for each of 10 frames; the cell wants 10"),
    ],
)
def test_another_cell_gets_one_line(checkpoint: Path, changed: dict[str, Any], says: str) -> None:
    assert says in complaint(lambda: load(checkpoint, dataclasses.replace(CELL, **changed), 1))


def test_a_folder_that_is_no_checkpoint_gets_one_line(checkpoint: Path, tmp_path: Path) -> None:
    assert "nowhere: no such folder; wanted is a folder with a trained video" in complaint(lambda: summary("nowhere"))
    assert "holds no 'video'" in complaint(lambda: load(checkpoint / "video", CELL, 1))
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "video").symlink_to(checkpoint / "idm")
    (swapped / "idm").symlink_to(checkpoint / "video")
    assert "is a checkpoint of kind 'idm', wanted is 'video'" in complaint(lambda: summary(swapped))


def test_parts_that_do_not_go_together_get_one_line(tmp_path: Path) -> None:
    slower = tiny(tmp_path / "slower", rate=5.0)
    assert "the inverse model ['wrist', 'cell'] at 5 Hz: they must agree" in complaint(lambda: load(slower, CELL, 1))
    other = tiny(tmp_path / "other", embodiments=[dataclasses.asdict(WIDE)])
    assert "the checkpoint's idm does not know toy+suction, but big" in complaint(lambda: load(other, CELL, 1))
    foreign = tiny(tmp_path / "foreign", config={"layers": 3})
    assert "is no checkpoint of this inverse model" in complaint(lambda: load(foreign, CELL, 1))


def test_a_loop_that_cannot_be_gets_one_line(checkpoint: Path) -> None:
    assert "lead = 5 must lie in 0 … 4" in complaint(lambda: load(checkpoint, CELL, 1, lead=5))
    assert "chunk = 0" in complaint(lambda: load(checkpoint, CELL, 1, chunk=0))
    assert "steps = 0 must be at least 1" in complaint(lambda: load(checkpoint, CELL, 1, steps=0))


def test_it_is_served_from_the_command_line(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "threading", types.SimpleNamespace(Event=Interrupted))
    assert serve.main([str(checkpoint), "--port", "0", "--arm", "toy+suction", "--arms", "2"]) == 0
    assert f"serving {summary(checkpoint).hash} for toy+suction at 127.0.0.1:" in capsys.readouterr().out
    for words, says in (
        (["nowhere"], "no such folder"),
        ([str(checkpoint), "--arm", "toy"], "unknown arm of the checkpoint 'toy': known are big, toy+suction"),
        ([str(checkpoint), "--host", "203.0.113.7"], "cannot be listened at"),
    ):
        assert serve.main(words) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
