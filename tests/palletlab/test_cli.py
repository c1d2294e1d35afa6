"""The command line: what it answers to bad input, and a small job from generating to viewing."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from palletlab import cli
from palletlab.config import load, settings_of
from tasks.dataset.reader import open_dataset
from tasks.families import FAMILIES, family
from tasks.palletizing.cell import Layout
from tasks.simulation import Settings

Say = Callable[..., str]
GOOD = {"article": "a", "length/mm": 400, "width/mm": 300, "height/mm": 200, "weight/kg": 5.0, "sequence": 1}


def order_file(folder: Path, *items: dict[str, object]) -> Path:
    path = folder / "orders.json"
    sequence = {str(k + 1): {**GOOD, "sequence": k + 1, **item} for k, item in enumerate(items)}
    path.write_text(json.dumps({"o": {"item_sequence": sequence}}))
    return path


@pytest.fixture
def complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command that must fail, in an empty folder; return its one line. Nothing may be left behind."""
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> str:
        before = sorted(p for p in tmp_path.rglob("*"))
        assert cli.run(list(arguments)) == 2
        captured = capsys.readouterr()
        assert sorted(p for p in tmp_path.rglob("*")) == before
        assert captured.err.startswith("palletlab: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return say


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lst"], "unknown command 'lst': did you mean 'list'"),
        (["list", "knobz"], "did you mean 'knobs'"),
        (["generate", "cuont=3"], "did you mean count"),
        (["generate", "count=0"], "count = 0 must be a whole number, 1 or more"),
        (["generate", "count"], "settings are written key=value"),
        (["generate", "--fast"], "no option --fast"),
        (["generate", "task=paletizing"], "did you mean 'palletizing'"),
        (["generate", "robot=ur21"], "did you mean 'ur20'"),
        (["generate", "variation=nomnal"], "did you mean 'nominal'"),
        (["generate", "variation=mine.yaml"], "mine.yaml: no such variation file"),
        (["generate", "variation.carton.cuont=3"], "did you mean 'carton.count'"),
        (["generate", "variation.carton.count={uniform:[9,3]}"], "bounds the wrong way round"),
        (["generate", "variation.carton.count={unifrom:[3,9]}"], "unknown distribution 'unifrom'"),
        (["generate", "variation.carton.count=900"], "outside its bounds"),
        (["generate", "robot.pallet_distance=9"], "pallet_distance"),
        (["generate", "task=palletising"], "did you mean 'palletizing'"),
        (["generate", "robot=ur11e"], "unknown robot of palletizing 'ur11e': did you mean 'ur10e'"),
        (["generate", "task.stage=decant"], "unknown setting 'task.stage'"),
        (["list", "knobs", "task=palletising"], "did you mean 'palletizing'"),
        (["list", "knob"], "did you mean 'knobs'"),
        (["rollout", "policy=exprt"], "did you mean 'expert'"),
        (["rollout", "cameras=[cel]"], "did you mean 'cell'"),
        (["rollout", "worlds=0"], "worlds = 0"),
        (["rollout", "variants=none.parquet"], "no such table of variants"),
        (["rollout", "--resume", "nowhere"], "holds no run"),
        (["rollout", "--replay", "nowhere"], "nowhere"),
        (["evaluate", "dataset=nowhere"], "nowhere"),
        (["view"], "view wants a dataset"),
        (["view", "nowhere"], "nowhere"),
        (["generate", "order=none.json"], "none.json"),
        (["generate", "plan=none.json"], "give order= too"),
    ],
)
def test_bad_settings_get_one_line(complaint: Say, arguments: Sequence[str], says: str) -> None:
    assert says in complaint(*arguments)


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ({"length/mm": -400}, "length"),
        ({"weight/kg": 0}, "weight"),
        ({"weight/kg": "heavy"}, "weight"),
        ({"weight/kg": 18.0}, "17.5"),
        ({"length/mm": 1300, "width/mm": 900}, "pallet"),
        ({"length/mm": 760}, "740 mm"),
    ],
)
def test_impossible_cartons_get_one_line(complaint: Say, tmp_path: Path, item: dict[str, object], says: str) -> None:
    path = order_file(tmp_path, {}, item)
    assert says in complaint("generate", f"order={path}")


def test_malformed_orders_get_one_line(complaint: Say, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"o": ')
    (tmp_path / "a.csv").write_text("article,length_mm\nx,3\n")
    (tmp_path / "b.csv").write_text("article,length_mm,width_mm,height_mm,weight_kg\nx,400,abc,3,4\n")
    assert "a.json" in complaint("generate", "order=a.json")
    assert "width_mm" in complaint("generate", "order=a.csv")
    assert "b.csv" in complaint("generate", "order=b.csv")


def test_an_order_that_no_plan_can_hold(complaint: Say, tmp_path: Path) -> None:
    path = order_file(tmp_path, {"height/mm": 1300})
    assert "no carton can be placed" in complaint("generate", f"order={path}")


def test_several_orders_want_a_name(complaint: Say, tmp_path: Path) -> None:
    both = {name: {"item_sequence": {"1": GOOD}} for name in ("first", "second")}
    (tmp_path / "o.json").write_text(json.dumps(both))
    assert "order_name=first or second" in complaint("generate", "order=o.json")
    assert "did you mean 'first'" in complaint("generate", "order=o.json", "order_name=frist")


def test_an_existing_folder_is_not_overwritten(complaint: Say, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "exists already" in complaint("generate", "count=1", "variation.carton.count=1", "sheet=false", "out=out")


def test_without_a_rendering_library(tmp_path: Path) -> None:
    environment = {**os.environ, "MUJOCO_GL": "disabled"}
    command = [sys.executable, "-m", "palletlab", "rollout", "count=1", "variation.carton.count=1", "out=run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("palletlab: no rendering library found; install one")
    assert not list((tmp_path / "run").glob("dataset/data/**/*.parquet"))


def test_a_robot_brings_the_tasks_layout_and_settings_change_it() -> None:
    scene = settings_of(load("rollout", ["task.slots=7", "robot.base_height=0.8", "robot=ur10e", "cameras=[wrist]"]))
    assert scene == Settings("palletizing", Layout("ur10e", 0.8, 0.75, 1.2), 7, ("wrist",), 128)


def test_list_shows_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["list"]) == 0
    text = capsys.readouterr().out
    for name in FAMILIES:
        task = family(name)
        assert all(said in text for said in (name, task.environment_id(), f"policies of {name}", task.count))
        assert cli.run(["list", "knobs", f"task={name}"]) == 0
        assert capsys.readouterr().out.count("knobs of") == 1


def test_help_is_quick_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert name in text
        assert cli.run([name, "--help"]) == 0
        assert all(example in capsys.readouterr().out for example in [cli.EXAMPLES[name][0]])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "palletlab", "--help"], check=True, capture_output=True)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.5


def test_another_package_of_the_same_name_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "sim.py").write_text("")
    command = [sys.executable, "-c", "from palletlab.cli import run; import sys; sys.exit(run(['list', 'robots']))"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the package 'sim' comes from" in done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rollout: two variants of two cartons."""
    folder = tmp_path_factory.mktemp("cli")
    table = folder / "table"
    few = ["variation.carton.count=2", "task.slots=2"]
    assert cli.run(["generate", "count=2", *few, f"out={table}"]) == 0
    arguments = [f"variants={table / 'variants.parquet'}", "worlds=2", "image_size=64", f"out={folder / 'run'}"]
    assert cli.run(["rollout", *arguments]) == 0
    return folder / "run"


def test_a_job_from_variants_to_pages(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (run.parent / "table" / "sheet.png").stat().st_size > 10_000
    dataset = open_dataset(run / "dataset")
    assert len(dataset) == 2
    assert json.loads((run / "result.json").read_text())["episodes"] == 2
    assert cli.run(["view", str(run / "dataset"), f"out={tmp_path / 'view.html'}"]) == 0
    assert (tmp_path / "view.html").stat().st_size > 50_000
    assert cli.run(["evaluate", f"dataset={run / 'dataset'}", f"out={tmp_path / 'evaluation'}"]) == 0
    figures = json.loads((tmp_path / "evaluation" / "result.json").read_text())["figures"]
    assert figures["cartons_within_tolerance"]["value"] == 1.0
    assert cli.run(["rollout", "--replay", str(run / "dataset"), "episode=1"]) == 0
    assert "episode 1: matches" in capsys.readouterr().out


def test_resuming_a_finished_run_changes_nothing(run: Path) -> None:
    before = {p: p.read_bytes() for p in (run / "dataset").rglob("*") if p.is_file()}
    assert cli.run(["rollout", "--resume", str(run)]) == 0
    assert {p: p.read_bytes() for p in (run / "dataset").rglob("*") if p.is_file()} == before


def test_a_dataset_cut_short_by_hand(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "cut"
    shutil.copytree(run / "dataset", root)
    data = next((root / "data").rglob("*.parquet"))
    data.write_bytes(data.read_bytes()[:100])
    capsys.readouterr()
    assert cli.run(["view", str(root)]) == 2
    assert cli.run(["evaluate", f"dataset={root}"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(error.startswith("palletlab: ") and data.name in error for error in errors)


def test_a_full_disk_gets_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, complaint: Say) -> None:
    import errno

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = complaint("generate", "count=1", "variation.carton.count=1", "sheet=false", f"out={tmp_path / 'run'}")
    assert "full" in said or "No space left" in said
