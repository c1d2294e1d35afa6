"""The command: a small session, one that is killed and goes on, its page, and bad input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from palletlab import cli
from palletlab import robots as chosen
from palletlab.commands import validate
from palletlab.validation_page import validation_page

SMALL = ["count=2", "cartons=2", "task.slots=3", "policies=[expert,expert-careless]", "workers=1", "stop_early=false"]


@pytest.fixture(autouse=True)
def robots(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of two robots: a simulated one, and a stand-in that nobody has started."""
    folder = tmp_path_factory.mktemp("robots")
    (folder / "sim.yaml").write_text("kind: sim\narm: ur20\nknobs: {}\n")
    (folder / "ur.yaml").write_text("kind: ur\narm: ur20\nhost: 127.0.0.99\n")
    monkeypatch.setattr(chosen, "ROBOTS", folder)
    return folder


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a session that must fail; return its one line."""
    assert cli.run(["validate", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("palletlab: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["cuont=3"], "did you mean count"),
        (["robot=urr"], "unknown robot 'urr': did you mean 'ur'"),
        (["robot=ur"], "127.0.0.99:30100 does not answer"),
        (["robot=sim", "robot.arm=ur21"], "did you mean 'ur20'"),
        (["robot.tcp_sped=1"], "did you mean 'tcp_speed'"),
        (["robot.knobs.suction.max_force=-3"], "max_force = -3"),
        (["robot.knobs.suction.max_farce=300"], "did you mean 'suction.max_force'"),
        (["policies=[exprt]"], "did you mean 'expert'"),
        (["policies=[expert,expert]"], "names a policy twice"),
        (["margin=2"], "margin = 2"),
        (["margin=wide"], "margin = wide must be a number"),
        (["count=0"], "count = 0"),
        (["cartons=900"], "carton.count = 900"),
        (["order=orders.json"], "neither order= nor plan="),
        (["goods=nominl"], "did you mean 'nominal'"),
        (["variation=none.yaml"], "none.yaml: no such variation file"),
        (["task=tote_breakdown"], "validation runs the task palletizing"),
        (["--resume", "nowhere"], "nowhere holds no session"),
        (["--resume"], "wants the folder of a session"),
    ],
)
def test_bad_input_gets_one_line_and_leaves_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        says in complaint(capsys, *SMALL, *arguments) if "--resume" not in arguments else complaint(capsys, *arguments)
    )
    assert not list(tmp_path.iterdir())


def test_a_calibration_with_a_broken_covariance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "calibration.yaml"
    path.write_text(yaml.safe_dump({"knobs": {"suction.max_force": 340.0}, "covariance": [[-1.0]]}))
    assert "covariance must be" in complaint(capsys, *SMALL, f"variation={path}")
    assert list(tmp_path.iterdir()) == [path]


class Tags(HTMLParser):
    """Checks that what is opened is closed, in order."""

    VOID = frozenset({"meta", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing is left open."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked_page(path: Path) -> str:
    text = path.read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert "nan" not in re.sub(r"<style>.*?</style>|<script>.*?</script>", "", text, flags=re.S).lower().split()
    assert "http" not in text.replace("http://www.w3.org", "")
    return text


def test_a_small_session_on_a_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibration = tmp_path / "weak.yaml"
    calibration.write_text(yaml.safe_dump({"knobs": {"suction.max_force": 600.0}, "covariance": [[1.0]]}))
    folder = tmp_path / "session"
    assert cli.run(["validate", *SMALL, f"variation={calibration}", f"out={folder}"]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out
    result = json.loads((folder / "result.json").read_text())
    assert [p["trials"] for p in result["policies"]] == [2, 2]
    assert result["robot"] == "simulation in place of a robot"
    # The goods are the nominal variation's, in all their variety, and the calibration is the session's own copy.
    calibration.unlink()
    rows = validate.Rows.from_parquet(folder / "variants.parquet", validate.Settings(slots=3).knobs)
    assert len({tuple(size) for size in rows["carton.size"][:, 0]}) == 2
    assert rows["suction.max_force"] == pytest.approx(600.0, abs=5.0)
    page = checked_page(folder / "validation.html")
    for word in ("expert-careless", "Clopper-Pearson", "simulation in place of a robot", *result["verdict"][1:2]):
        assert word in page
    # A finished session that is resumed runs nothing again.
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.json") if p.name != "result.json"}
    assert cli.run(["validate", "--resume", str(folder)]) == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert json.loads((folder / "result.json").read_text()) == result


def test_a_killed_session_goes_on_where_it_stood(tmp_path: Path, robots: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = (
        "import sys, pathlib; from palletlab import cli, robots; "
        f"robots.ROBOTS = pathlib.Path({str(robots)!r}); sys.exit(cli.run(sys.argv[1:]))"
    )
    start = [sys.executable, "-c", program, "validate"]
    assert cli.run(["validate", *SMALL, f"out={whole}"]) == 0
    process = subprocess.Popen([*start, *SMALL, f"out={killed}"], stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((killed / "trials").glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p.name: p.read_bytes() for p in (killed / "trials").glob("*.json")}
    assert kept
    done = subprocess.run([*start, "--resume", str(killed)], check=True, capture_output=True, text=True)
    assert str(killed) in done.stdout
    found, expected = (json.loads((folder / "result.json").read_text()) for folder in (killed, whole))
    assert found.pop("interrupted") in (0, 1)
    expected.pop("interrupted")
    assert found == expected
    for name, content in kept.items():
        assert (killed / "trials" / name).read_bytes() == content


# ---- the page --------------------------------------------------------------------------------------------------------


def result(**more: Any) -> dict[str, Any]:
    share = {"value": 0.9, "low": 0.68, "high": 0.99, "unit": "1"}
    nothing = dict.fromkeys(("path", "time", "cartons", "yaw"))
    policy = {
        "name": "expert<1>", "trials": 20, "real": share, "predicted": share, "difference": 0.0, "running": [0.0] * 20,
        "decision": "within", "decided": 18, "apart": nothing, "seconds": {"real": 40.0, "predicted": None},
        "causes": {"real": {"carton off": 2}, "predicted": {}},
    }  # fmt: skip
    trial = {
        "trial": 0, "code": "AB2D", "policy": "expert<1>", "variant": 300, "success": False, "predicted": 0.5,
        "reasons": ["carton 1 off by 16.0 mm"], "predicted_reasons": [], "seconds": 41.0, "apart": None,
    }  # fmt: skip
    return {
        "robot": "stand-in, not hardware", "trials": 20, "planned": 40, "interrupted": 1, "margin": 0.2, "error": 0.05,
        "policies": [policy], "correlation": None, "rank_violation": None, "verdict": ["All is <well>."],
        "outcomes": [trial],
    } | more  # fmt: skip


def test_the_page_says_what_the_robot_was_and_escapes_names(tmp_path: Path) -> None:
    validation_page(result(), tmp_path / "page.html")
    page = checked_page(tmp_path / "page.html")
    assert "stand-in, not hardware" in page
    assert "expert&lt;1&gt;" in page
    assert "expert<1>" not in page
    assert "All is &lt;well&gt;." in page
    assert "1 begun and interrupted" in page


def test_a_page_without_trials(tmp_path: Path) -> None:
    validation_page(result(policies=[result()["policies"][0] | {"trials": 0}], outcomes=[]), tmp_path / "page.html")
    assert "All is" in checked_page(tmp_path / "page.html")
