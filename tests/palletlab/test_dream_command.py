"""`palletlab dream`: from a checkpoint and a dataset to videos, a page and figures; refused."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from palletlab import cli
from tests.palletlab.trained_lab import trained
from tests.policies.policies_lab import little_dataset, little_video


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset, and a checkpoint with video and idm in it, hardly trained."""
    folder = tmp_path_factory.mktemp("dream")
    data = little_dataset(folder / "data", 4, 44)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALLETLAB_CACHE", str(folder / "cache"))
        tokenizer = trained("tokenizer", data, folder / "tokenizer")
        trained("video", data, folder / "both" / "video", f"tokenizer={tokenizer}")
        trained("idm", data, folder / "both" / "idm")
    return data, folder / "both"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "cache"))


SHORT = ("count=3", "seconds=1.2", "shown=0.4", "compared=0.8", "probe=3", "videos=2", "device=cpu")


@pytest.mark.parametrize("acts", ["told", "self", "idm"])
def test_dreams_are_shown_and_measured(
    lab: tuple[Path, Path], tmp_path: Path, acts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, checkpoint = lab
    out = tmp_path / "out"
    words = (f"checkpoint={checkpoint}", f"data=[{data}]", f"acts={acts}", *SHORT, f"out={out}")
    assert cli.run(["dream", *words]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["dreams"] == 3
    assert result["acts"] == acts
    assert len(result["psnr"]["dream"]) == 8
    assert set(result["joints_error"]) == {"dream", "floor", "apart"}
    assert len(result["like_the_data"]["share"]) > 8  # beyond the truth it is looked at now and then
    videos = sorted((out / "videos").iterdir())
    assert [path.name for path in videos] == ["dream-000.mp4", "dream-001.mp4"]
    with av.open(str(videos[0])) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert sum(1 for _ in film.decode(stream)) == 4 + 12
        assert stream.codec_context.width >= 3 * 192
    page = (out / "dreams.html").read_text()
    assert page.count("<video") == 2
    assert "Drift" in page
    printed = capsys.readouterr().out
    assert "linear motion" in printed
    assert printed.rstrip().endswith(str(out))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "data=[FOLDER, ...] names datasets"),
        (["data=[DATA]"], "checkpoint=FOLDER names the video model"),
        (["data=[DATA]", "checkpoint=nowhere"], "nowhere"),
        (["data=[nowhere]", "checkpoint=BOTH"], "nowhere"),
        (["data=[DATA]", "checkpoint=BOTH/idm"], "kind 'idm'"),
        (["data=[DATA]", "checkpoint=BOTH/video", "acts=idm"], "wants idm=FOLDER"),
        (["data=[DATA]", "checkpoint=BOTH", "acts=wildly"], "known are told, self, idm"),
        (["data=[DATA]", "checkpoint=BOTH", "seconds=0.01"], "less than one frame at 10 frames a second"),
        (["data=[DATA]", "checkpoint=BOTH", "seconds=long"], "must be a number"),
        (["data=[DATA]", "checkpoint=BOTH", "shown=20"], "the longest of all episodes has 24"),
        (["data=[DATA]", "checkpoint=BOTH", "held_out=1"], "held_out = 1"),
        (["data=[DATA]", "checkpoint=BOTH", "count=0"], "count = 0"),
        (["data=[FILM]", "checkpoint=BOTH", "acts=told", "held_out=0", "shown=0.4"], "have none: use acts=self"),
    ],
)
def test_wrong_input_gets_one_line(
    lab: tuple[Path, Path], tmp_path: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "data=[FILM]" in words:
        little_video(tmp_path / "film.mp4", 80)
    names = {"DATA": lab[0], "BOTH": lab[1], "FILM": tmp_path / "film.mp4"}
    for name, path in names.items():
        words = [word.replace(name, str(path)) for word in words]
    assert cli.run(["dream", *words, "probe=2", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()
