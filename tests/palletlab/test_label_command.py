"""`palletlab label`: actions dropped, labelled, compared; refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from palletlab import cli
from policies.data.lerobot import STATS, LeRobotDataset
from policies.embodiment import ACTION, STATE
from policies.idm.recorded import compare
from tests.palletlab.trained_lab import trained
from tests.policies.policies_lab import action_names, little_dataset, little_video


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset and an inverse model that has hardly been trained on it."""
    folder = tmp_path_factory.mktemp("label")
    data = little_dataset(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALLETLAB_CACHE", str(folder / "cache"))
        trained("idm", data, folder / "idm")
    return data, folder / "idm"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "cache"))


def test_actions_are_dropped_and_labelled_and_compared(
    lab: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, idm = lab
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    bare, both, apart = tmp_path / "bare", tmp_path / "both", tmp_path / "apart"
    assert cli.run(["label", f"data=[{data}]", "drop=true", f"out={bare}"]) == 0
    dataset = LeRobotDataset(bare / "dataset")
    assert dataset.action_names == ()
    assert ACTION not in dataset.columns(0)
    assert ACTION not in json.loads((dataset.root / STATS).read_text())
    assert dataset.state_names == LeRobotDataset(data).state_names
    assert len(list(dataset.video(0, "cell"))) == dataset.lengths[0]

    assert cli.run(["label", f"data=[{data}]", f"idm={idm}", "drop=true", "states=false", f"out={both}"]) == 0
    labelled = LeRobotDataset(both / "dataset")
    assert labelled.action_names == action_names()
    # States were read off the pictures: they are not those that were recorded.
    assert not np.allclose(labelled.columns(0)[STATE][:, :3], LeRobotDataset(data).columns(0)[STATE][:, :3])
    words = [f"data=[{dataset.root}]", f"idm={idm}", f"truth={data}", f"out={apart}"]
    assert cli.run(["label", *words]) == 0
    blind, along = (json.loads((out / "result.json").read_text())["datasets"][0]["compared"] for out in (both, apart))
    assert set(along["joints"]) == {"joint0.position", "joint1.position", "joint2.position"}
    assert set(along["commands"]) == {"suction"}
    assert along["all"] < blind["all"]
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    printed = capsys.readouterr().out
    assert "all joints" in printed
    assert printed.rstrip().endswith(str(apart))
    assert sorted(path.name for path in both.iterdir()) == ["config.yaml", "dataset", "result.json", "run.json"]


def test_figures_are_those_of_the_difference(tmp_path: Path) -> None:
    one = LeRobotDataset(little_dataset(tmp_path / "one", 2, 24))
    said = compare(one, one, 2)
    assert said["all"] == 0
    assert said["commands"] == {"suction": 1.0}
    assert said["frames"] == 22 + 24  # of 24 and 26: after the last picture nothing is seen
    other = LeRobotDataset(little_dataset(tmp_path / "other", 2, 24, seed=1))
    said = compare(one, other, 2)
    off = np.concatenate([(one.columns(e)[ACTION] - other.columns(e)[ACTION])[:-2, 0] for e in range(2)])
    assert said["joints"]["joint0.position"]["error"] == pytest.approx(1000 * float(np.sqrt(np.mean(off**2))), rel=1e-5)
    assert said["joints"]["joint0.position"]["hold"] > 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "data=[FOLDER, ...] names datasets"),
        (["data=[DATA]"], "nothing to do"),
        (["data=[DATA]", "idm=IDM"], "has actions already"),
        (["data=[DATA]", "drop=maybe"], "must be true or false"),
        (["data=[DATA]", "idm=IDM", "states=false"], "goes with drop=true"),
        (["data=[DATA]", "idm=IDM", "drop=true", "truth=DATA"], "compared with anyway"),
        (["data=[DATA]", "idm=IDM", "drop=true", "embodiment=ur21+suction"], "did you mean 'ur20+suction'"),
        (["data=[DATA]", "idm=DATA", "drop=true"], "checkpoint"),
        (["data=[FILM]", "idm=IDM"], "a LeRobotDataset v3.0 is wanted"),
        (["data=[nowhere]", "drop=true"], "no such folder"),
        (["data=[DATA]", "dorp=true"], "did you mean drop"),
    ],
)
def test_wrong_input_gets_one_line(
    lab: tuple[Path, Path], tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "data=[FILM]" in words:
        little_video(tmp_path / "film.mp4")
    names = {"DATA": lab[0], "IDM": lab[1], "FILM": tmp_path / "film.mp4"}
    for name, path in names.items():
        words = [word.replace(name, str(path)) for word in words]
    assert cli.run(["label", *words, f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
