"""Visual materials: colours, gloss and small tiling textures made by deterministic functions.

A scene shows an asset's geoms in the look they name; the pools `CARDBOARDS`, `WOODS`, `FLOORS` serve randomization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.errors import unknown

Color = tuple[float, float, float]
Field = NDArray[np.float64]


@dataclass(frozen=True)
class Texture:
    """A texture that tiles.

    Attributes:
        kind: a key of `PAINTERS`.
        color: mean colour, 0..1.
        second: colour of grain, speckles or the other squares.
        size: width and height [px].
        period: length of surface that one tile covers [m].
        seed: another seed is another piece of the same stuff.
    """

    kind: str
    color: Color
    second: Color
    size: int = 128
    period: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Look:
    """How a surface looks; `rgba` multiplies the texture where there is one. Gloss values in 0..1."""

    rgba: tuple[float, float, float, float]
    specular: float = 0.2
    shininess: float = 0.2
    reflectance: float = 0.0
    texture: Texture | None = None


def look(name: str) -> Look:
    """The look of that name; InputError that names the nearest ones if there is none."""
    if name not in LOOKS:
        raise unknown("look", name, LOOKS)
    return LOOKS[name]


def texture_image(texture: Texture) -> NDArray[np.uint8]:
    """The texture's pixels, (size, size, 3), sRGB; the same texture always gives the same pixels."""
    if texture.kind not in PAINTERS:
        raise unknown("kind of texture", texture.kind, PAINTERS)
    weight = np.clip(PAINTERS[texture.kind](texture), 0.0, 1.0)[:, :, None]
    pixels = (1 - weight) * np.array(texture.color) + weight * np.array(texture.second)
    return np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def _noise(texture: Texture, across: int, along: int, stream: int) -> Field:
    """Smooth tiling noise in 0..1 with `across` cells over the width and `along` over the height, (size, size)."""
    lattice = np.random.Generator(np.random.PCG64([texture.seed, stream])).random((along, across))

    def spread(values: Field, axis: int) -> Field:
        place = np.arange(texture.size) * values.shape[axis] / texture.size
        cell = place.astype(np.int64)
        part = place - cell
        part = part * part * (3 - 2 * part)
        part = part[:, None] if axis == 0 else part[None, :]
        ahead = (cell + 1) % values.shape[axis]
        return (1 - part) * values.take(cell, axis) + part * values.take(ahead, axis)

    return spread(spread(lattice, 0), 1)


def _fibre(t: Texture) -> Field:
    """Kraft board: faint flutes, cloudy tone, short fibres lying along the width."""
    flutes = 0.06 * np.sin(2 * np.pi * np.arange(t.size) / 8)[:, None]
    clouds = _noise(t, 6, 6, 0) - 0.5
    fibres = _noise(t, t.size // 8, t.size, 1) - 0.5
    specks = _noise(t, t.size, t.size, 2) > 0.985
    return 0.3 + flutes + 0.25 * clouds + 0.45 * fibres + 0.4 * specks


def _grain(t: Texture) -> Field:
    """Sawn wood: wavy year rings along the width, with fine streaks."""
    bend = 2.5 * _noise(t, 3, 4, 0) + 0.5 * _noise(t, 9, 12, 1)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (7 * np.arange(t.size)[:, None] / t.size + bend))
    streaks = _noise(t, 6, t.size, 2)
    return 0.15 + 0.45 * rings**2 + 0.35 * streaks


def _concrete(t: Texture) -> Field:
    """Cast concrete: clouds of three sizes and fine grit."""
    clouds = 0.5 * _noise(t, 4, 4, 0) + 0.3 * _noise(t, 16, 16, 1) + 0.2 * _noise(t, t.size // 2, t.size // 2, 2)
    return clouds + 0.35 * (_noise(t, t.size, t.size, 3) > 0.97)


def _weave(t: Texture) -> Field:
    """A belt's fabric print: a fine diagonal weave."""
    row, column = np.indices((t.size, t.size))
    return 0.35 * ((row + column) % 4 < 2) + 0.25 * ((row - column) % 8 < 3) + 0.3 * _noise(t, 16, 16, 0)


def _checker(t: Texture) -> Field:
    row, column = np.indices((t.size, t.size)) * 2 // t.size
    return ((row + column) % 2).astype(np.float64)


def _print(t: Texture) -> Field:
    """A shipping label: a bar code over lines of text, on white."""
    rng = np.random.Generator(np.random.PCG64([t.seed, 0]))
    ink = np.zeros((t.size, t.size))
    bars = np.repeat(rng.random(t.size // 2) < 0.5, 2)[: t.size]
    top, bottom, margin = t.size // 10, t.size // 2, t.size // 10
    ink[top:bottom, margin:-margin] = bars[margin : t.size - margin]
    height = max(t.size // 20, 1)
    for line in range(int(0.58 * t.size), int(0.92 * t.size), 2 * height):
        ink[line : line + height, margin : margin + int(t.size * (0.3 + 0.5 * rng.random()))] = 0.8
    return ink


PAINTERS: dict[str, Callable[[Texture], Field]] = {
    "fibre": _fibre,
    "grain": _grain,
    "concrete": _concrete,
    "weave": _weave,
    "checker": _checker,
    "print": _print,
}


def _solid(
    r: float, g: float, b: float, specular: float = 0.2, shininess: float = 0.2, reflectance: float = 0.0
) -> Look:
    return Look((r, g, b, 1.0), specular, shininess, reflectance)


def _textured(kind: str, color: Color, second: Color, seed: int, size: int = 128, period: float = 0.5) -> Look:
    return Look((1, 1, 1, 1), 0.08, 0.08, 0.0, Texture(kind, color, second, size, period, seed))


def _pool(name: str, kind: str, colors: tuple[tuple[Color, Color], ...], size: int, period: float) -> dict[str, Look]:
    """Looks of one kind: the first is called `name`, the others `name_1`, `name_2` and so on."""
    return {
        name if i == 0 else f"{name}_{i}": _textured(kind, color, second, i, size, period)
        for i, (color, second) in enumerate(colors)
    }


_CARDBOARDS = _pool(
    "cardboard",
    "fibre",
    (
        ((0.74, 0.58, 0.40), (0.60, 0.44, 0.28)),
        ((0.69, 0.52, 0.34), (0.54, 0.38, 0.23)),
        ((0.79, 0.65, 0.47), (0.66, 0.51, 0.34)),
        ((0.63, 0.47, 0.31), (0.47, 0.34, 0.21)),
        ((0.76, 0.56, 0.36), (0.58, 0.38, 0.22)),
        ((0.88, 0.86, 0.82), (0.76, 0.73, 0.68)),
        ((0.71, 0.61, 0.48), (0.55, 0.46, 0.35)),
        ((0.66, 0.50, 0.38), (0.52, 0.37, 0.27)),
    ),
    size=128,
    period=0.4,
)
_WOODS = _pool(
    "pallet_wood",
    "grain",
    (
        ((0.82, 0.68, 0.48), (0.62, 0.46, 0.28)),
        ((0.66, 0.60, 0.52), (0.46, 0.41, 0.35)),
        ((0.88, 0.75, 0.56), (0.72, 0.55, 0.36)),
        ((0.62, 0.48, 0.33), (0.42, 0.31, 0.20)),
    ),
    size=128,
    period=0.6,
)
_FLOORS = _pool(
    "floor",
    "concrete",
    (
        ((0.50, 0.50, 0.49), (0.64, 0.63, 0.61)),
        ((0.36, 0.36, 0.37), (0.47, 0.47, 0.47)),
        ((0.62, 0.60, 0.56), (0.74, 0.72, 0.68)),
        ((0.33, 0.41, 0.38), (0.41, 0.50, 0.46)),
        ((0.38, 0.42, 0.49), (0.46, 0.51, 0.58)),
        ((0.48, 0.43, 0.38), (0.58, 0.53, 0.47)),
    ),
    size=256,
    period=2.0,
) | {"floor_tiles": _textured("checker", (0.55, 0.55, 0.54), (0.47, 0.47, 0.47), 0, 64, 1.0)}

LOOKS: dict[str, Look] = {
    "grey": _solid(0.6, 0.6, 0.6),
    "white": _solid(0.92, 0.92, 0.92),
    "yellow": _solid(0.93, 0.72, 0.10, 0.3, 0.3),
    "steel": _solid(0.42, 0.45, 0.48, 0.4, 0.4),
    "aluminium": _solid(0.74, 0.75, 0.77, 0.6, 0.5, 0.03),
    "arm_grey": _solid(0.77, 0.78, 0.79, 0.45, 0.5, 0.02),
    "arm_blue": _solid(0.29, 0.56, 0.78, 0.4, 0.5),
    "arm_metal": _solid(0.27, 0.28, 0.30, 0.5, 0.5),
    "gripper_light": _solid(0.70, 0.72, 0.74, 0.5, 0.5),
    "gripper_dark": _solid(0.16, 0.17, 0.19, 0.3, 0.3),
    "gripper_accent": _solid(0.90, 0.45, 0.12, 0.3, 0.3),
    "tote_blue": _solid(0.10, 0.25, 0.50, 0.35, 0.35),
    "tote_grey": _solid(0.45, 0.49, 0.52, 0.35, 0.35),
    "tote_wall": _solid(0.55, 0.59, 0.61, 0.35, 0.35),
    "bin_green": _solid(0.20, 0.42, 0.30, 0.3, 0.3),
    "mat": _solid(0.13, 0.14, 0.15, 0.05, 0.05),
    "cup": _solid(0.20, 0.36, 0.62, 0.1, 0.1),
    "zinc": _solid(0.66, 0.64, 0.56, 0.6, 0.5),
    "brass": _solid(0.76, 0.60, 0.26, 0.7, 0.6),
    "cast_iron": _solid(0.24, 0.30, 0.34, 0.2, 0.15),
    "blued_steel": _solid(0.27, 0.30, 0.36, 0.6, 0.5),
    "ceramic": _solid(0.90, 0.88, 0.82, 0.6, 0.8, 0.02),
    "plastic_black": _solid(0.10, 0.10, 0.11, 0.4, 0.4),
    "plastic_blue": _solid(0.13, 0.38, 0.66, 0.5, 0.5),
    "plastic_orange": _solid(0.88, 0.42, 0.10, 0.4, 0.4),
    "plastic_red": _solid(0.70, 0.13, 0.12, 0.4, 0.4),
    "clear_bag": Look((0.80, 0.86, 0.90, 0.75), 0.9, 0.9),
    "tape": _solid(0.71, 0.53, 0.30, 0.6, 0.7, 0.02),
    "label": Look((1, 1, 1, 1), 0.1, 0.1, 0.0, Texture("print", (0.95, 0.95, 0.93), (0.08, 0.08, 0.08), 64, 0.1)),
    "belt": _textured("weave", (0.12, 0.14, 0.14), (0.22, 0.25, 0.25), 0, 64, 0.1),
    **_CARDBOARDS,
    **_WOODS,
    **_FLOORS,
}

CARDBOARDS, WOODS, FLOORS = tuple(_CARDBOARDS), tuple(_WOODS), tuple(_FLOORS)
