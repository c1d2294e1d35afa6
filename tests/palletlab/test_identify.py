"""The command `palletlab identify`: bad input gets one line; a stand-in is identified from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from palletlab import cli
from sim2real.recording import Recording
from sim2real.standin.launch import launched
from tasks.simulation import Settings

HOST = "127.0.7.84"


def recording(path: Path, arm: str = "ur20", rows: int = 1000) -> str:
    """Write a recording of an arm that stands still; return where."""
    still, none = np.zeros((rows, 6)), np.zeros(rows, np.uint32)
    noise = 1e-6 * np.arange(rows)[:, None] + still
    Recording(
        source="simulation", arm=arm, rate=500.0, time=np.arange(rows) / 500.0, position=noise, velocity=still,
        current=still, torque=still, tcp_force=still, safety=none + 1, requested=still, sent=still, outputs=none,
    ).write(path)  # fmt: skip
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["robot=urr"], "unknown robot 'urr'"),
        (["robot.hots=127.0.0.1"], "did you mean 'host'"),
        (["robot.arm=ur21"], "ur21"),
        (["stages=[joint]"], "did you mean 'joints'"),
        (["stages=[]"], "stages names none"),
        (["motion=3"], "did you mean motions"),
        (["seconds=1"], "seconds = 1 must lie in 4 … 60"),
        (["log=nowhere.mcap"], "two recordings"),
        (["log=[nowhere.mcap,nor_here.mcap]"], "nowhere.mcap"),
        (["log=[a.mcap,b.mcap]", "stages=[contact]"], "logs tell nothing of contact"),
        (["earlier=nowhere.yaml"], "nowhere.yaml: no such calibration"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["identify", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert says in lines[0]
    assert not list(tmp_path.rglob("*"))


def test_logs_of_two_arms_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logs = [recording(tmp_path / "one.mcap"), recording(tmp_path / "two.mcap", arm="ur10e")]
    assert cli.run(["identify", f"log=[{','.join(logs)}]"]) == 2
    assert "ur10e" in capsys.readouterr().err
    assert not list((tmp_path / "outputs").rglob("*.yaml"))


@pytest.mark.slow
def test_a_stand_in_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run moves nothing; then it moves, and what was found is near what was sealed and can be trained on."""
    words = ["identify", "robot=ur", f"robot.host={HOST}", "robot.log=''", "motions=2", "seconds=6"]
    out = tmp_path / "found"
    with launched(HOST, seed=5):
        assert cli.run(words) == 0
        assert "dry run: nothing has moved" in capsys.readouterr().out
        assert cli.run([*words, "move=true", f"out={out}"]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["source"] == "stand-in, not hardware"
    assert result["errors"]["held-out after"] < 0.02 * result["errors"]["held-out before"]
    assert "stand-in, not hardware" in (out / "identification.html").read_text()
    rollout = ["generate", "count=1", f"variation={out / 'calibration.yaml'}", f"out={tmp_path / 'g'}"]
    assert cli.run([*rollout, "task.slots=3", "variation.carton.count=2"]) == 0
    assert (tmp_path / "g" / "variants.parquet").is_file()
    knobs = Settings().knobs
    assert all(name in knobs for name in result["knobs"])
