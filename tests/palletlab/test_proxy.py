"""`palletlab proxy`: a small mesh from file to asset and page; what it says to bad input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
from manifold3d import Manifold
from omegaconf import OmegaConf

from assets.proxies.files import read_asset
from assets.proxies.gate import Limits
from assets.proxies.solids import arrays_of
from palletlab import cli, config

Say = Callable[..., str]
ANGLE = Manifold.cube((80, 60, 10)) + Manifold.cube((10, 60, 50))  # [mm]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with two meshes in it, and a cache of its own."""
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path / "cache"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, solid in (("angle.stl", ANGLE), ("block.obj", Manifold.cube((40, 30, 20)))):
        trimesh.Trimesh(*arrays_of(solid), process=False).export(work / name)
    return work


@pytest.fixture
def complaint(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command that must fail; return its one line. Nothing may be left behind."""

    def say(*arguments: str) -> str:
        before = sorted(p for p in folder.rglob("*"))
        assert cli.run(list(arguments)) == 2
        captured = capsys.readouterr()
        assert (
            sorted(p for p in folder.rglob("*") if p != folder / "outputs" and p.parent != folder / "outputs") == before
        )
        assert captured.err.startswith("palletlab: ")
        assert captured.err.count("\n") == 1
        return captured.err

    return say


def test_meshes_become_assets_and_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region = "regions.corner={box:[0.03,0.02,0.015],position:[0.045,0.03,0.03]}"
    assert cli.run(["proxy", "angle.stl", "unit=mm", "mass=0.4", "surface=metal", region, "out=one"]) == 0
    said = capsys.readouterr().out
    assert "angle: the gate passes with 2 pieces" in said
    assert said.splitlines()[-1] == "one"
    asset = read_asset(folder / "one" / "angle")
    assert (asset.mass, asset.surface, asset.source) == (0.4, "metal", "angle.stl")
    assert asset.proxy.report.passed
    assert asset.proxy.report["blocked corner"].value < 0.05
    figures = json.loads((folder / "one" / "result.json").read_text())["proxies"]["angle"]
    assert figures["pieces"] == len(asset.proxy.hulls) == 2
    assert figures["step_us_one_hull"] > 0
    assert figures["step_us"] > 0
    page = (folder / "one" / "proxy.html").read_text()
    assert page.count("data:image/png") == 3
    assert "corner: volume blocked" in page
    assert OmegaConf.load(folder / "one" / "config.yaml").meshes == ["angle.stl"]


def test_several_meshes_share_a_page(folder: Path) -> None:
    assert cli.run(["proxy", "angle.stl", "block.obj", "unit=mm", "density=2700", "render=false", "out=both"]) == 0
    assert read_asset(folder / "both" / "block").mass == pytest.approx(2700 * 24e-6)
    page = (folder / "both" / "proxy.html").read_text()
    assert page.count("<section") == 2
    assert "data:image/png" not in page


def test_the_settings_show_the_limits_as_they_are() -> None:
    limits = OmegaConf.to_container(config.load("proxy", []).limits)
    assert limits == dataclasses.asdict(Limits())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "proxy wants a mesh"),
        (["none.stl"], "none.stl: no such mesh"),
        (["angle.stl"], "looks like millimetres read as metres: give unit=mm"),
        (["angle.stl", "unit=mm", "limits.thinest=1"], "did you mean limits.thinnest"),
        (["angle.stl", "unit=mm", "limits.hulls=many"], "limit hulls = 'many' must be a whole number"),
        (["angle.stl", "unit=mm", "mass=-1"], "mass = -1 must be a positive number"),
        (["angle.stl", "unit=mm", "density=heavy"], "density = heavy must be a positive number"),
        (["angle.stl", "unit=mm", "surface=plastik"], "did you mean 'plastic'"),
        (["angle.stl", "angle.stl", "unit=mm"], "two meshes are named 'angle'"),
        (["angle.stl", "block.obj", "unit=mm", "regions.a={box:[1,1,1]}"], "regions belong to one mesh"),
        (["angle.stl", "unit=mm", "regions.a={ball:[1]}"], "regions.a = {'ball': [1]}: it is written"),
        (["angle.stl", "unit=mm", "regions.a={box:[1,1,1],position:[0,0]}"], "it is written"),
        (["angle.stl", "unit=mm", "limits.thinnest=0.02"], "no proxy meets limits.thinnest"),
    ],
)
def test_bad_input_gets_one_line(complaint: Say, arguments: list[str], says: str) -> None:
    assert says in complaint("proxy", *arguments)


def test_a_mesh_that_fails_takes_the_folder_with_it(complaint: Say, folder: Path) -> None:
    (folder / "bad.stl").write_text("no mesh")
    assert "bad.stl holds no triangles" in complaint(
        "proxy", "block.obj", "bad.stl", "unit=mm", "render=false", "out=both"
    )
