"""`palletlab demo`: both tasks, at their smallest, in one folder, with pages that link to each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from palletlab import cli

SMALL = ["count=1", "worlds=1", "workers=1", "seconds=0.5", "render=false"]
CARTONS = [*SMALL, "order=null", "variation.carton.count=1"]
ALSO = "also=[" + ",".join(f"'{word}'" for word in ("task=tote_breakdown", *SMALL, "variation.part.count=1")) + "]"


def test_it_shows_both_tasks_on_linked_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo"
    assert cli.run(["demo", *CARTONS, ALSO, f"out={folder}"]) == 0
    for place, task, link in (
        (folder, "palletizing", "tote_breakdown/demo.html"),
        (folder / "tote_breakdown", "tote_breakdown", "../demo.html"),
    ):
        assert json.loads((place / "result.json").read_text())["task"] == task
        assert f'href="{link}"' in (place / "demo.html").read_text()
        assert (place / "dataset" / "meta" / "info.json").is_file()
        assert (place / "variants.parquet").is_file()
    said = capsys.readouterr().out
    # A machine that is too busy to watch an arm moves none, and says so.
    if "no identification: " not in said:
        assert json.loads((folder / "arm" / "result.json").read_text())["source"] == "stand-in, not hardware"
    assert "the same for tote breakdown" in said
    assert f"palletlab view {folder / 'tote_breakdown' / 'dataset'}" in said


def test_one_task_alone(tmp_path: Path) -> None:
    # By name: the second part's task is shown already.
    folder = tmp_path / "demo"
    words = [*SMALL, "task=tote_breakdown", "variation.part.count=1", "identify=null", f"out={folder}"]
    assert cli.run(["demo", *words]) == 0
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["dataset"]
    assert "More of the demo" not in (folder / "demo.html").read_text()


def test_wrong_settings_of_either_part_leave_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["count=none"], ["also=['task=tote_breakdown','count=none']"]):
        assert cli.run(["demo", *CARTONS, *wrong, f"out={tmp_path / 'demo'}"]) == 2
        assert "count = none must be a whole number" in capsys.readouterr().err
        assert not (tmp_path / "demo").exists()
