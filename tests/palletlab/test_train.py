"""`palletlab train`: from a dataset to checkpoints, resumed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from palletlab import cli
from policies.checkpoint import load
from policies.video.network import load_video
from tests.policies.policies_lab import little_dataset

VIEWS = "views=[{camera: cell, crop: [0.0, 0.0, 1.0, 1.0], size: 32}]"
SMALL = (
    VIEWS,
    "autoencoder={channels: 4, down: 8, pack: [2, 2], width: 16}",
    "transformer={width: 32, depth: 1, heads: 2, context: 8, local: 4, chunk: 2}",
    "inverse={width: 40, depth: 1, heads: 5}",
    "tests=1",
)


def trained(kind: str, data: Path, out: Path, *more: str, steps: int = 3) -> Path:
    how = [f"how.steps={steps}", f"training.{kind}={{length: 8, batch: 2, lr: 1e-3, warmup: 1}}"]
    assert cli.run(["train", kind, f"data=[{data}]", f"out={out}", *how, *SMALL, *more]) == 0
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALLETLAB_CACHE", str(folder / "cache"))
        yield little_dataset(folder / "data")  # type: ignore[misc]


def test_each_kind_is_trained_and_loads(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = trained("tokenizer", data, tmp_path / "tokenizer")
    video = trained("video", data, tmp_path / "video", f"tokenizer={tokenizer}")
    trained("idm", data, tmp_path / "idm", f"video={video}")
    trained("baseline", data, tmp_path / "baseline", f"tokenizer={tokenizer}", f"video={video}")
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith(str(tmp_path / "baseline"))
    assert "episodes kept for tests" in printed
    for kind in ("tokenizer", "video", "idm", "baseline"):
        kept = load(tmp_path / kind, kind)
        assert kept.about["embodiments"]
        result = json.loads((tmp_path / kind / "result.json").read_text())
        assert result["step"] == 3
        assert np.isfinite(result["loss"])
    assert load_video(video).meaning.views[0].camera == "cell"
    further = trained("video", data, tmp_path / "further", f"tokenizer={tokenizer}", f"start={video}", steps=1)
    before, after = load(video).weights, load(further).weights
    name = "model.place"
    assert np.abs((before[name] - after[name]).numpy()).max() < 0.02


def test_what_was_learned_from_video_alone_is_gone_on_with(data: Path, tmp_path: Path) -> None:
    tokenizer = trained("tokenizer", data, tmp_path / "tokenizer", "actions=false")
    video = trained("video", data, tmp_path / "video", f"tokenizer={tokenizer}", "actions=false")
    assert load(video).about["embodiments"] == []
    further = trained("video", data, tmp_path / "further", f"tokenizer={tokenizer}", f"start={video}", steps=1)
    assert len(load(further).about["embodiments"]) == 1
    before, after = load(video).weights, load(further).weights
    assert np.abs((before["model.place"] - after["model.place"]).numpy()).max() < 0.02
    assert "model.condition.proprio.weight" in set(after) - set(before)


def test_an_inverse_model_learns_another_arm(data: Path, tmp_path: Path) -> None:
    one = trained("idm", data, tmp_path / "one")
    other = little_dataset(tmp_path / "other", robot="ur10e", joints=2)
    both = trained("idm", data, tmp_path / "both", f"data=[{data},{other}]", f"start={one}")
    before, after = load(one).weights, load(both).weights
    assert [e["name"].split("+")[0] for e in load(both).about["embodiments"]] == ["ur20", "ur10e"]
    for name in ("motion", "targets", "servo", "proprio_spread"):
        assert (before[name][0] == after[name][0]).all()  # what the model has learned to read
        assert (before[name][1] != after[name][1]).any()
    assert ((after["motion"][1] > 0).sum(), (before["motion"][1] > 0).sum()) == (2, 0)


def test_a_training_is_resumed(data: Path, tmp_path: Path) -> None:
    folder = trained("tokenizer", data, tmp_path / "run")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("steps: 3", "steps: 5"))
    assert cli.run(["train", "--resume", str(folder)]) == 0
    assert json.loads((folder / "result.json").read_text())["step"] == 5


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what to train"),
        (["vidio", "data=x"], "did you mean 'video'"),
        (["video"], "there is nothing to train on"),
        (["video", "data=DATA", "training.video.length=8"], "tokenizer=FOLDER names a trained tokenizer"),
        (["tokenizer", "data=nowhere"], "nowhere"),
        (["tokenizer", "data=DATA", "views=[{camera: rear, size: 32}]"], "rear"),
        (["tokenizer", "data=DATA", "views=[{size: 32}]"], "each wants a camera"),
        (["tokenizer", "data=DATA", VIEWS, "training.tokenizer.batch=0"], "batch = 0"),
        (["tokenizer", "data=DATA", VIEWS, "training.tokenizer.stepz=4"], "stepz"),
        (["tokenizer", "data=DATA", VIEWS, "hours=0"], "no episode is left"),
        (["video", "data=DATA", VIEWS, "training.video.length=8", "tokenizer=DATA"], "checkpoint"),
        (["--resume", "nowhere"], "holds no training"),
    ],
)
def test_wrong_input_gets_one_line(
    data: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [a.replace("DATA", str(data)) for a in arguments]
    out = [] if not arguments or "--resume" in arguments else [f"out={tmp_path / 'out'}"]
    assert cli.run(["train", *words, *out]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
