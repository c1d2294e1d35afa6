"""Cartons, pallet, conveyor, gripper: their dimensions, masses and inertias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from assets.asset import Body, Geom
from assets.carton import PARTS, PROUD, carton, carton_geoms, carton_inertia
from assets.conveyor import HEIGHT, conveyor
from assets.errors import InputError
from assets.gripper import LENGTH, LIP_STROKE, MASS, PAD, Cups, vacuum_gripper
from assets.looks import LOOKS
from assets.materials import SURFACES
from assets.pallet import epal1

ALL = (epal1(), conveyor(), vacuum_gripper(), carton("carton", (0.4, 0.3, 0.2), 5.0))


def _span(geoms: list[Geom], axis: int) -> tuple[float, float]:
    """Lowest and highest coordinate of boxes along an axis [m]."""
    return min(g.position[axis] - g.size[axis] for g in geoms), max(g.position[axis] + g.size[axis] for g in geoms)


@pytest.mark.parametrize("asset", ALL, ids=lambda a: a.name)
def test_names_looks_and_surfaces_exist(asset: Body) -> None:
    geoms = [g for body in asset.walk() for g in body.geoms]
    assert len({g.name for g in geoms}) == len(geoms)
    assert {g.look for g in geoms} <= set(LOOKS)
    assert {g.surface for g in geoms if g.surface} <= set(SURFACES)
    assert any(g.surface for g in geoms)


def test_pallet_adds_up() -> None:
    geoms = list(epal1().geoms)
    layers = {kind: [g for g in geoms if f"_{kind}_" in g.name] for kind in ("deck", "cross", "bottom")}
    layers["block"] = [g for g in geoms if "block" in g.name]
    assert {kind: len(found) for kind, found in layers.items()} == {"deck": 5, "cross": 3, "bottom": 3, "block": 9}
    heights = {kind: {round(2000 * g.size[2]) for g in found} for kind, found in layers.items()}
    assert heights == {"deck": {22}, "cross": {22}, "block": {78}, "bottom": {22}}
    for axis, (low, high) in enumerate(((-0.6, 0.6), (-0.4, 0.4), (-0.144, 0.0))):
        assert _span(geoms, axis) == pytest.approx((low, high))
    # Each layer lies on the next.
    for upper, lower in (("deck", "cross"), ("cross", "block"), ("block", "bottom")):
        assert _span(layers[upper], 2)[0] == pytest.approx(_span(layers[lower], 2)[1])
    assert sorted(round(2000 * g.size[1]) for g in layers["deck"]) == [100, 100, 145, 145, 145]
    assert sorted(round(2000 * g.size[1]) for g in layers["block"]) == [100] * 6 + [145] * 3


def test_pallet_weighs_what_it_should(compiled: Callable[[Body], mujoco.MjModel]) -> None:
    pallet = epal1()
    volume = sum(8 * np.prod(g.size) for g in pallet.geoms)
    assert 400 < pallet.mass / volume < 650  # the density of softwood [kg/m^3]
    assert pallet.center_of_mass == pytest.approx((0, 0, -0.059), abs=0.01)
    # Left to itself, MuJoCo works out the same inertia from the geoms, as of one density.
    own = compiled(replace(pallet, mass=0.0)).body("pallet")
    np.testing.assert_allclose(own.ipos, pallet.center_of_mass, atol=1e-12)
    xx, xy, xz, yy, yz, zz = pallet.inertia
    assert (xy, xz, yz) == pytest.approx((0, 0, 0), abs=1e-12)
    np.testing.assert_allclose(sorted(own.inertia / own.mass * pallet.mass), [xx, yy, zz], rtol=1e-9)


def test_carton_compiles_as_it_says(compiled: Callable[[Body], mujoco.MjModel]) -> None:
    """One colliding box of the right mass and inertia."""
    model = compiled(replace(carton("box", (0.4, 0.3, 0.2), 8.0), position=(0.3, 0.1, 0.105)))
    assert model.ngeom == 1
    assert model.body("box").mass == pytest.approx(8.0)
    np.testing.assert_allclose(
        model.body("box").inertia, carton_inertia([[0.4, 0.3, 0.2]], [8.0], [[0, 0, 0]])[0][::-1]
    )


def test_carton_geoms_follow_the_size() -> None:
    sizes = np.array([[0.4, 0.3, 0.2], [0.27, 0.13, 0.11], [0.6, 0.4, 0.36]])
    half, position = carton_geoms(sizes)
    assert half.shape == position.shape == (3, len(PARTS), 3)
    np.testing.assert_allclose(half[:, 0], sizes / 2)
    assert (half > 0).all()
    # Tape and label stand out by less than a millimetre, each on its own face, and nowhere else.
    outer = np.abs(position) + half - sizes[:, None] / 2
    assert (outer[:, 1:].max(axis=2) > 0).all()
    assert outer.max() <= PROUD + 1e-12
    # A row's result does not depend on the others, and the template has the same geoms.
    alone = carton_geoms(sizes[1:2])
    np.testing.assert_array_equal(alone[0][0], half[1])
    body = carton("c", (0.27, 0.13, 0.11), 3.0)
    np.testing.assert_array_equal([g.size for g in body.geoms], half[1])
    assert [g.name for g in body.geoms] == [f"c_{part}" for part in PARTS]
    assert [g.surface for g in body.geoms] == ["cardboard", None, None, None, None]
    assert body.free


def test_carton_inertia() -> None:
    sizes = np.array([[0.4, 0.3, 0.2], [0.4, 0.3, 0.2]])
    inertia = carton_inertia(sizes, [6.0, 6.0], [[0, 0, 0], [0.05, 0, -0.02]])
    np.testing.assert_allclose(inertia[0], [0.5 * 0.13, 0.5 * 0.20, 0.5 * 0.25])
    np.testing.assert_allclose(inertia[1], 0.5 * np.array([0.09 + 0.16**2, 0.09 + 0.16**2, 0.18]))
    with pytest.raises(InputError, match=r"carton 0 .* lies outside"):
        carton_inertia(sizes[:1], [6.0], [[0.2, 0, 0]])
    with pytest.raises(InputError, match="carton 1: size"):
        carton_geoms([[0.4, 0.3, 0.2], [0.4, -0.3, 0.2]])
    with pytest.raises(InputError, match="mass 0"):
        carton("c", (0.4, 0.3, 0.2), 0)


def test_conveyor_stands_on_the_floor() -> None:
    belt = next(g for g in conveyor().geoms if g.name == "belt")
    assert belt.position[2] + belt.size[2] == pytest.approx(0)
    assert 2 * belt.size[1] == pytest.approx(0.55)
    boxes = [g for g in conveyor(0.8).geoms if g.kind == "box"]
    assert _span(boxes, 2)[0] == pytest.approx(-0.8)
    assert _span([g for g in conveyor().geoms if g.kind == "box"], 2)[0] == pytest.approx(-HEIGHT)
    with pytest.raises(InputError, match=r"between 0\.2 and 2 m"):
        conveyor(0.05)


def test_gripper() -> None:
    gripper = vacuum_gripper()
    cups = gripper.find("cups")
    assert gripper.total_mass() == pytest.approx(MASS)
    assert cups.position == (0, 0, LENGTH)
    assert cups.frames[0].name == "suction"
    proxy = next(g for g in cups.geoms if g.surface is not None)
    assert proxy.position[2] + proxy.size[2] == pytest.approx(-LIP_STROKE)
    lips = [g for g in cups.geoms if g.name.endswith("lip")]
    assert len(lips) == 8
    assert max(g.position[2] + g.size[1] for g in lips) == pytest.approx(0)
    model = Cups()
    assert (np.abs(model.positions) + model.radius <= np.array(PAD) / 2 + 1e-9).all()
    assert len({tuple(p) for p in model.positions.tolist()}) == 8
    assert model.max_force == pytest.approx(model.vacuum * model.efficiency * np.pi * model.radius**2)
    assert 30 < model.max_force < 100
    assert model.max_carton_length == pytest.approx(0.74)
    about_x, about_y = model.max_moment
    assert 10 < about_x < about_y < 50
