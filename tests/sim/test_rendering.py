"""Pictures: shapes, depth, segmentation, and that a row decides what they look like."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import mujoco
import numpy as np
import pytest

from assets.errors import InputError
from sim.cell import Cell
from sim.knobs import Rows
from sim.rendering import RENDERING_HELP, Renderer
from sim.rotations import conjugate, rotate

if TYPE_CHECKING:
    from tests.conftest import Lab

WIDTH, HEIGHT = 96, 72
LOOKS = [
    "carton.color", "carton.texture", "pallet.color", "pallet.texture", "floor.color", "floor.texture",
    "light.intensity", "light.ambient", "light.color", "light.direction",
]  # fmt: skip
CAMERA_KNOBS = [f"camera.{c}.{what}" for c in ("cell", "wrist") for what in ("position", "rotation", "field_of_view")]


@pytest.fixture(scope="module", autouse=True)
def _can_render(lab: Lab) -> None:
    """Skip where no rendering library is installed."""
    try:
        Renderer(lab.cell(lab.rows()).worlds, 8, 8).close()  # type: ignore[arg-type]
    except InputError as error:
        pytest.skip(str(error))


def with_cartons(lab: Lab, rows: Rows) -> Cell:
    """Return a cell with three cartons on the pallet, one of them turned."""
    cell = lab.cell(rows)
    lab.put(cell, 0, (0.75, -0.2, 0.264), np.pi / 2)
    lab.put(cell, 1, (1.1, -0.1, 0.264), 0.4)
    lab.put(cell, 2, (0.8, 0.35, 0.264))
    cell.worlds.forward(np.arange(len(rows)))
    return cell


@pytest.fixture(scope="module")
def nominal(lab: Lab) -> Cell:
    """A nominal cell with cartons."""
    return with_cartons(lab, lab.rows())


@pytest.fixture(scope="module")
def renderer(nominal: Cell) -> Iterator[Renderer]:
    """A renderer of the nominal cell."""
    made = Renderer(nominal.worlds, WIDTH, HEIGHT)  # type: ignore[arg-type]
    yield made
    made.close()


def picture(cell: Cell, camera: str = "cell") -> np.ndarray:
    """Return the colours (n, HEIGHT, WIDTH, 3) that a fresh renderer sees."""
    renderer = Renderer(cell.worlds, WIDTH, HEIGHT)  # type: ignore[arg-type]
    try:
        return renderer.render((camera,), np.arange(cell.worlds.nworld))[camera].rgb
    finally:
        renderer.close()


def test_shapes_and_types(renderer: Renderer) -> None:
    images = renderer.render(("cell", "wrist"), np.arange(1), everything=True)
    assert list(images) == ["cell", "wrist"]
    for image in images.values():
        assert image.depth is not None
        assert image.segmentation is not None
        assert (image.rgb.shape, image.rgb.dtype) == ((1, HEIGHT, WIDTH, 3), np.uint8)
        assert (image.depth.shape, image.depth.dtype) == ((1, HEIGHT, WIDTH), np.float32)
        assert (image.segmentation.shape, image.segmentation.dtype) == ((1, HEIGHT, WIDTH), np.int32)
        assert image.rgb.std() > 10
    only = renderer.render(("cell",), np.arange(1))["cell"]
    assert only.depth is None
    assert only.segmentation is None


def test_colours_are_the_same_with_and_without_depth(renderer: Renderer) -> None:
    plain = renderer.render(("cell",), np.arange(1))["cell"].rgb
    rich = renderer.render(("cell",), np.arange(1), everything=True)["cell"].rgb
    again = renderer.render(("cell",), np.arange(1))["cell"].rgb
    assert plain.tobytes() == rich.tobytes() == again.tobytes()


def test_segmentation_finds_the_cartons_and_nothing_that_is_parked(lab: Lab, renderer: Renderer) -> None:
    image = renderer.render(("cell",), np.arange(1), everything=True)["cell"]
    assert image.segmentation is not None
    seen = np.unique(image.segmentation)
    assert seen.min() >= -1
    assert seen.max() < lab.scene.model.ngeom
    body = np.where(image.segmentation < 0, 0, lab.scene.model.geom_bodyid[image.segmentation])
    for slot in range(3):
        assert (body == lab.scene.slot_bodies[slot]).sum() > 20
    assert not (body == lab.scene.slot_bodies[3]).any()
    assert lab.scene.model.geom("floor").id in seen


def test_depth_of_the_cartons_faces(lab: Lab, nominal: Cell, renderer: Renderer) -> None:
    image = renderer.render(("cell",), np.arange(1), everything=True)["cell"]
    assert image.depth is not None
    assert image.segmentation is not None
    data: mujoco.MjData = nominal.worlds.data(0)  # type: ignore[attr-defined]
    camera = lab.scene.cameras["cell"]
    position, axes = data.cam_xpos[camera], data.cam_xmat[camera].reshape(3, 3)
    focal = HEIGHT / 2 / np.tan(lab.knobs.nominal("camera.cell.field_of_view") / 2)
    poses, quaternions = nominal.poses(np.arange(1))
    half = np.array([0.2, 0.15, 0.12])
    for slot in range(3):
        inside = image.segmentation[0] == lab.scene.grips[slot]
        # A pixel on an edge may show either side of it.
        inside &= np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1) & np.roll(inside, -1, 1)
        v, u = np.nonzero(inside)
        assert len(v) > 10
        depth = image.depth[0, v, u].astype(float)
        ray = np.stack([(u + 0.5 - WIDTH / 2) / focal, -(v + 0.5 - HEIGHT / 2) / focal, -np.ones(len(u))], axis=1)
        point = position + (ray * depth[:, None]) @ axes.T
        local = rotate(conjugate(quaternions[0, slot]), point - poses[0, slot])
        off_face = np.abs(np.max(np.abs(local) - half, axis=1))
        print("slot", slot, "pixels", len(v), "worst", off_face.max() / depth.min())
        assert (off_face < 0.01 * depth).all()


def test_the_same_row_gives_the_same_picture_bit_for_bit(lab: Lab) -> None:
    other = {"carton__color": 0.6, "light__intensity": 1.4, "floor__texture": 3}
    one = picture(with_cartons(lab, lab.rows(**other)))
    many = picture(
        with_cartons(lab, lab.rows(3, carton__color=0.6, floor__texture=3, light__intensity=[1.4, 0.7, 1.4]))
    )
    assert many[0].tobytes() == many[2].tobytes() == one[0].tobytes()
    assert np.abs(many[1].astype(int) - many[0]).mean() > 5


def test_a_new_row_shows_at_once_and_an_old_one_comes_back(lab: Lab) -> None:
    cell = with_cartons(lab, lab.rows())
    renderer = Renderer(cell.worlds, WIDTH, HEIGHT)  # type: ignore[arg-type]
    one = np.arange(1)
    looks = []
    for texture in (0, 5, 0):
        cell.apply(lab.rows(floor__texture=texture), one)
        cell.worlds.forward(one)
        looks.append(renderer.render(("cell",), one)["cell"].rgb.tobytes())
    renderer.close()
    assert looks[0] == looks[2] != looks[1]


@pytest.mark.parametrize("name", LOOKS + CAMERA_KNOBS)
def test_every_knob_of_looks_and_cameras_is_seen(lab: Lab, nominal: Cell, renderer: Renderer, name: str) -> None:
    camera = name.split(".")[1] if name.startswith("camera.") else "cell"
    knob, value = lab.knobs[name], lab.knobs.nominal(name)
    other = np.where(np.asarray(knob.upper) > value, knob.upper, knob.lower)
    if knob.integer:
        other = value + 1
    before = renderer.render((camera,), np.arange(1))[camera].rgb
    after = picture(with_cartons(lab, lab.rows(1, **{name.replace(".", "__"): other})), camera)
    changed = np.abs(after.astype(int) - before).max(-1)
    assert (changed > 3).mean() > 0.005


def test_textures_of_every_choice_differ(lab: Lab) -> None:
    for name in ("carton.texture", "pallet.texture", "floor.texture"):
        n = int(lab.knobs[name].upper) + 1  # type: ignore[arg-type]
        values = np.arange(n, dtype=float)
        shaped = values[:, None] if lab.knobs.shape(name) else values
        looks = picture(with_cartons(lab, lab.rows(n, **{name.replace(".", "__"): shaped})))
        assert len({look.tobytes() for look in looks}) == n, name


def test_what_to_install_is_said_where_nothing_can_render(tmp_path: Path) -> None:
    script = """
import sim
from sim.mujoco_worlds import MujocoWorlds
from sim.rendering import Renderer
from sim.scene import compile_scene
from tasks.palletizing.cell import Layout, palletizing_scene
Renderer(MujocoWorlds(compile_scene(palletizing_scene(Layout(), 1)), 1), 64, 48)
"""
    root = str(Path(__file__).parent.parent.parent)
    environment = {**os.environ, "MUJOCO_GL": "disabled", "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"assets.errors.InputError: {RENDERING_HELP}"
    assert "apt-get install" in RENDERING_HELP
