"""Learned policies from the command line: `policy=dva checkpoint=FOLDER` in rollouts and evaluations."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import dva_fake
import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from assets.errors import InputError
from palletlab import cli
from palletlab import config as settings
from palletlab.commands.rollout import resume
from palletlab.learned import LEARNED, Learned, fill_in, learned_of
from policies.checkpoint import save
from policies.data.statistics import Scale, Statistics
from policies.data.view import View
from policies.embodiment import ACTION, STATE, Embodiment
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder
from sim.rendering import RENDERING_HELP
from tasks.dataset.reader import open_dataset
from tasks.palletizing.task import ACTION_NAMES, INSTRUCTION, STATE_NAMES
from tasks.rollout import Job, Progress, roll_out

SMALL = ["count=3", "task.slots=2", "variation.carton.count=1", "image_size=32", "seconds=1.5"]
HOLD = 4  # frames


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake checkpoint; the fake module stands in for the real one, here and in the workers."""
    monkeypatch.setitem(LEARNED, "dva", "dva_fake")
    monkeypatch.chdir(tmp_path)
    return dva_fake.write(tmp_path / "checkpoint")


@pytest.fixture
def rendering() -> None:
    if os.environ["MUJOCO_GL"] == "disabled":
        pytest.skip(RENDERING_HELP)


def config_of(*arguments: str, command: str = "rollout") -> DictConfig:
    return settings.load(command, [*SMALL, *arguments])


def actions(root: Path) -> list[np.ndarray]:
    dataset = open_dataset(root)
    return [dataset.episode(k)["action"] for k in range(len(dataset))]


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.usefixtures("rendering")
def test_a_learned_policy_is_rolled_out_and_only_resumed_as_itself(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ["policy=dva", "checkpoint=checkpoint", "cameras=[cell]", "worlds=2", "workers=1", f"out={out}"]
    assert cli.run(["rollout", *SMALL, *arguments]) == 0
    dataset = open_dataset(out / "dataset")
    assert dataset.settings["policy"] == "dva abc123"
    assert len(dataset) == 3
    for way in actions(out / "dataset"):
        assert len(way) == 15
        assert (way[:HOLD] == way[0]).all()
        steps = np.abs(np.diff(way[:, :6], axis=0))
        assert steps[HOLD:].min() > 1e-4
        assert steps.max() < 0.021
    # It is taken up from anywhere, with the same checkpoint.
    said = json.loads((out / "result.json").read_text())
    assert said == {"episodes": 3, "quarantined": 0, "successes": 0}
    os.chdir(tmp_path.parent)
    assert resume(out) == 0
    (checkpoint / "fake.json").write_text('{"hash": "def456"}')
    with pytest.raises(InputError, match="policy"):
        resume(out)


@pytest.mark.usefixtures("rendering", "checkpoint")
def test_the_same_comes_out_however_the_work_is_shared_out(tmp_path: Path) -> None:
    config = config_of("policy=dva", "checkpoint=checkpoint", "cameras=[cell]", "loop.lead=2")
    fill_in(config)
    rows, _ = settings.rows_of(config)
    scene = settings.settings_of(config)
    name, make = learned_of(config, scene)
    assert name == "dva abc123 lead=2"
    found = []
    for worlds, workers in ((3, 1), (1, 1)):
        root = tmp_path / f"{worlds}"
        job = Job(scene, name, rows, root, worlds=worlds, workers=workers, seconds=1.0, make=make)
        assert roll_out(job) == Progress(3, 3, 0, 0)
        found.append(files(root))
    assert found[0] == found[1]


def untrained(folder: Path) -> Path:
    """Write tiny networks that nobody trained, for palletizing."""
    body = Embodiment.of(
        {
            "robot_type": "ur20",
            "features": {
                key: {"names": list(names), "shape": [len(names)]}
                for key, names in ((STATE, STATE_NAMES), (ACTION, ACTION_NAMES))
            },
        }
    )
    widths, tokenizer = action_widths([body], 1), Autoencoder(16, 2, 4, (2, 2), 16)
    scales = Statistics(*(Scale(torch.zeros(1, n), torch.ones(1, n)) for n in widths))
    meaning = Meaning((View("wrist", size=16),), 10.0, 1, (INSTRUCTION,), (body,), scales, {"wrist": (48, 48)})
    config = VideoConfig(
        16, 2, 2, 1, views=1, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8, proprio=widths[0], actions=7
    )
    network = VideoNetwork(tokenizer, VideoModel(config), meaning)
    idm = IDMConfig(("wrist",), 6, *widths, size=16, width=16, depth=1, heads=2)
    inverse = InverseDynamics(idm)
    inverse.targets[0] = torch.tensor(body.target_of)
    save(folder / "video", network.state_dict(), network.about)
    save(folder / "idm", inverse.state_dict(), network.about | {"kind": "idm", "config": dataclasses.asdict(idm)})
    return folder


def test_the_cameras_are_set_as_a_checkpoint_wants_them(tmp_path: Path) -> None:
    given = ["policy=dva", f"checkpoint={untrained(tmp_path / 'networks')}", "render=false"]
    config = settings.load("rollout", [*SMALL[:-2], *given])
    fill_in(config)
    assert (list(config.cameras), config.render, config.image_size) == (["wrist"], True, 48)
    config = settings.load("rollout", [*SMALL, *given])
    fill_in(config)
    assert config.image_size == 32


@pytest.mark.usefixtures("rendering")
def test_networks_drive_the_arm(tmp_path: Path) -> None:
    out, folder = tmp_path / "run", untrained(tmp_path / "networks")
    arguments = [f"checkpoint={folder}", "policy=dva", "worlds=1", "workers=1", "count=1", "loop.steps=1", f"out={out}"]
    assert cli.run(["evaluate", *SMALL, *arguments]) == 0
    dataset = open_dataset(out / "dataset")
    assert dataset.settings["policy"].startswith("dva ")
    assert dataset.settings["policy"].endswith(" steps=1")
    assert dataset.settings["simulation"]["cameras"] == ["wrist"]
    assert len(actions(out / "dataset")[0]) == 15


@pytest.mark.usefixtures("rendering")
def test_evaluate_renders_what_the_policy_sees(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [f"checkpoint={checkpoint}", "worlds=1", "workers=1", "count=1", f"out={out}"]
    assert cli.run(["evaluate", *SMALL, "policy=dva", *arguments]) == 0
    dataset = open_dataset(out / "dataset")
    assert dataset.settings["simulation"]["cameras"] == ["cell"]
    assert json.loads((out / "result.json").read_text())["figures"]


def test_settings_are_completed(checkpoint: Path) -> None:
    config = config_of("policy=dva", "checkpoint=checkpoint", command="evaluate")
    fill_in(config)
    assert config.render
    assert list(config.cameras) == ["cell"]
    assert config.checkpoint == str(checkpoint)
    config = config_of("policy=dva", "checkpoint=checkpoint")
    fill_in(config)
    assert list(config.cameras) == ["cell", "wrist"]
    # The expert is left alone.
    config = config_of(command="evaluate")
    fill_in(config)
    assert not config.render
    assert learned_of(config, settings.settings_of(config)) == ("expert", None)


def test_the_loop_is_as_told(checkpoint: Path) -> None:
    config = config_of("policy=dva", "checkpoint=checkpoint", "loop.lead=0", "loop.chunk=3")
    _, make = learned_of(config, settings.settings_of(config))
    assert isinstance(make, Learned)
    rhythm = make(2).rhythm  # pyright: ignore[reportAttributeAccessIssue]
    assert (rhythm.chunk, rhythm.lead, rhythm.period) == (3, 0, 0.1)


@pytest.fixture
def complaint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail; return its one line. Nothing may be left behind."""

    def say(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert cli.run([*arguments, *SMALL]) == 2
        captured = capsys.readouterr()
        assert sorted(tmp_path.rglob("*")) == before
        assert captured.err.startswith("palletlab: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return say


def test_the_real_loader_complains_in_one_line(complaint: Callable[..., str]) -> None:
    says = complaint("rollout", "policy=dva", "checkpoint=nowhere")
    assert "nowhere: no such folder; wanted is a folder with a trained video and a trained idm in it" in says


@pytest.mark.usefixtures("checkpoint")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["policy=dva"], "policy=dva wants checkpoint=FOLDER"),
        (["policy=dva", "checkpoint=nowhere"], "nowhere: no such folder"),
        (["policy=expert", "checkpoint=checkpoint"], "policy=expert has no checkpoint"),
        (["policy=dva", "checkpoint=checkpoint", "cameras=[wrist]"], "lacks: set cameras=[wrist,cell]"),
        (["policy=dva", "checkpoint=checkpoint", "loop.lead=5"], "lead = 5 must lie in 0 … 4"),
        (["policy=dva", "checkpoint=checkpoint", "loop.lead=-1"], "loop.lead = -1 must be a whole number, 0 or more"),
        (["policy=dva", "checkpoint=checkpoint", "loop.chunks=3"], "unknown setting 'loop.chunks'"),
    ],
)
def test_what_does_not_go_together_gets_one_line(
    complaint: Callable[..., str], arguments: list[str], says: str
) -> None:
    assert says in complaint("rollout", *arguments)
    if "cameras" not in arguments[-1]:
        assert says in complaint("evaluate", *arguments)
