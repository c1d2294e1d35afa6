"""A pallet's load, drawn: from above and from two sides, coloured by the cartons' mass."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from assets.errors import InputError
from assets.pallet import SIZE as PALLET_SIZE
from assets.pallet import epal1

SCALE = 290  # [pixel/m]; the same in every view
MARGIN = 6  # [pixel]
LIGHT_TO_HEAVY = np.array([(0xF6, 0xE6, 0xC6), (0xE0, 0xA0, 0x52), (0xA8, 0x54, 0x2A), (0x5A, 0x22, 0x1C)])

# Name, axis to the right, axis upwards, axis to the viewer: all in the pallet frame, as a sign and a number each.
VIEWS = (
    ("from above", (1, 0), (1, 1), (1, 2)),
    ("long side, from -y", (1, 0), (1, 2), (-1, 1)),
    ("short side, from +x", (1, 1), (1, 2), (1, 0)),
)


def plan_figure(boxes: Sequence[dict[str, Any]]) -> str:
    """One pallet's load as HTML with three SVG drawings to one scale.

    Args:
        boxes: in placing order: `center` (3) and `size` (3) [m] and `yaw` [rad] in the pallet frame, `mass` [kg] and
            `label`, a short text that is written on the box.

    Raises:
        InputError: a box lacks one of these.
    """
    for number, box in enumerate(boxes, 1):
        missing = {"center", "size", "yaw", "mass", "label"} - box.keys()
        if missing:
            raise InputError(f"box {number} of the plan has no {sorted(missing)[0]!r}")
    masses = [float(box["mass"]) for box in boxes] or [0.0]
    light, heavy = min(masses), max(masses)
    views = "".join(_view(boxes, view, light, heavy) for view in VIEWS)
    top = max((box["center"][2] + box["size"][2] / 2 for box in boxes), default=0.0)
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in LIGHT_TO_HEAVY)
    ramp = (
        f'<div class="ramp"><span>{light:.1f} kg</span><i style="background:linear-gradient(90deg,{stops})"></i>'
        f"<span>{heavy:.1f} kg each; {len(boxes)} cartons, {sum(masses):.1f} kg in all, "
        f"{top + PALLET_SIZE[2]:.2f} m high with the pallet</span></div>"
    )
    return f'<figure><div class="views">{views}</div>{ramp}</figure>'


def _view(boxes: Sequence[dict[str, Any]], view: tuple[Any, ...], light: float, heavy: float) -> str:
    name, right, up, near = view
    pallet = [(geom.position, 2 * np.array(geom.size)) for geom in epal1().geoms]
    extents = [_extents(box["size"], box["yaw"]) for box in boxes]
    solids = [*pallet, *((box["center"], size) for box, size in zip(boxes, extents, strict=True))]
    low = np.min([np.asarray(center) - np.asarray(size) / 2 for center, size in solids], axis=0)
    high = np.max([np.asarray(center) + np.asarray(size) / 2 for center, size in solids], axis=0)
    wide, tall = (SCALE * (high[axis] - low[axis]) + 2 * MARGIN for _, axis in (right, up))

    def point(position: Any) -> tuple[float, float]:
        x = SCALE * (position[right[1]] - low[right[1]]) + MARGIN
        y = SCALE * (high[up[1]] - position[up[1]]) + MARGIN
        return x, y

    # What is nearer to the viewer is drawn later, over what is behind it.
    nearness = [near[0] * c[near[1]] + s[near[1]] / 2 for c, s in solids]
    sequence = sorted(range(len(solids)), key=lambda k: (k >= len(pallet), nearness[k]))
    parts = []
    for place, k in enumerate(sequence):
        center, size = solids[k]
        x, y = point(center)
        half = SCALE * size[right[1]] / 2, SCALE * size[up[1]] / 2
        if k < len(pallet):
            parts.append(_rectangle(x, y, half, 'fill="#b99a6b" stroke="#7d6540" stroke-width=".6"'))
            continue
        box = boxes[k - len(pallet)]
        color = _color(box["mass"], light, heavy)
        style = f'fill="rgb({",".join(map(str, color))})" stroke="#2b1a10" stroke-width="1"'
        size_told = " x ".join(f"{1000 * side:.0f}" for side in box["size"])
        says = f"<title>{escape(str(box['label']))}: {size_told} mm, {box['mass']:.2f} kg</title>"
        if near[1] == 2:
            outline = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(point, _corners(box)))
            parts.append(f'<polygon points="{outline}" {style}>{says}</polygon>')
        else:
            parts.append(_rectangle(x, y, half, style, says))
        # A label that something nearer covers would only confuse.
        hidden = any(
            all(abs(c[axis] - center[axis]) < s[axis] / 2 + 0.025 for axis in (right[1], up[1]))
            for c, s in (solids[later] for later in sequence[place + 1 :])
        )
        label = str(box["label"])
        if not hidden and half[1] > 7 and half[0] > 4 * len(label):
            ink = "#fff" if sum(color) < 380 else "#1d1206"
            parts.append(
                f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle" style="fill:{ink};pointer-events:none">'
                f"{escape(label)}</text>"
            )
    axes = "xyz"[right[1]] + "xyz"[up[1]]
    return (
        f'<figure><svg width="{wide:.0f}" viewBox="0 0 {wide:.0f} {tall:.0f}" role="img" aria-label="load {name}">'
        f"{''.join(parts)}</svg><figcaption>{name} ({axes[0]} to the right, {axes[1]} up)</figcaption></figure>"
    )


def _rectangle(x: float, y: float, half: tuple[float, float], style: str, says: str = "") -> str:
    place = f'x="{x - half[0]:.1f}" y="{y - half[1]:.1f}" width="{2 * half[0]:.1f}" height="{2 * half[1]:.1f}"'
    return f"<rect {place} {style}>{says}</rect>"


def _corners(box: dict[str, Any]) -> list[tuple[float, float, float]]:
    cos, sin = math.cos(box["yaw"]), math.sin(box["yaw"])
    x, y, z = box["center"]
    length, width, _ = box["size"]
    return [
        (x + cos * a * length / 2 - sin * b * width / 2, y + sin * a * length / 2 + cos * b * width / 2, z)
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]


def _extents(size: Sequence[float], yaw: float) -> tuple[float, float, float]:
    """Extents along the pallet's axes of a box turned about z."""
    cos, sin = abs(math.cos(yaw)), abs(math.sin(yaw))
    return cos * size[0] + sin * size[1], sin * size[0] + cos * size[1], size[2]


def _color(mass: float, light: float, heavy: float) -> tuple[int, int, int]:
    share = (mass - light) / (heavy - light) if heavy > light else 0.4
    stops = np.linspace(0, 1, len(LIGHT_TO_HEAVY))
    red, green, blue = (round(float(np.interp(share, stops, LIGHT_TO_HEAVY[:, k]))) for k in range(3))
    return red, green, blue
