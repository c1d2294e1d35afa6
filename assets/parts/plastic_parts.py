"""Parts of plastic, rubber and ceramics: bottle, mug, spring cover, cable drum, connector."""

from __future__ import annotations

from assets.parts.base import Shape, family
from assets.parts.solids import (
    box,
    chamfered,
    cylinder,
    extruded,
    prism,
    ring_pieces,
    rounded,
    spindle,
    turned,
)
from assets.proxies.gate import Region


@family("bottle", surface="plastic", look="plastic_blue", density=1000.0)  # filled with a fluid
def bottle(size: int) -> Shape:
    """A closed bottle with a screw cap."""
    r, height = (0.025, 0.028, 0.031)[size], (0.105, 0.120, 0.135)[size]
    neck, cap, shoulder = 0.40 * r, 0.52 * r, 0.66 * height
    body = [
        (0.0, 0.002), (0.80 * r, 0.002), (0.86 * r, 0.0), (0.97 * r, 0.0015), (r, 0.006), (r, 0.16 * height),
        (0.965 * r, 0.19 * height), (0.965 * r, 0.53 * height), (r, 0.56 * height), (r, shoulder),
        (0.93 * r, 0.72 * height), (0.70 * r, 0.80 * height), (neck, 0.84 * height), (neck, 0.87 * height),
        (1.1 * cap, 0.87 * height), (1.1 * cap, 0.885 * height), (0.95 * cap, 0.89 * height),
        (0.95 * cap, height - 0.002), (0.85 * cap, height), (0.0, height),
    ]  # fmt: skip
    lower = [(0.96 * r, 0), (r, 0.006), (r, shoulder), (0.93 * r, 0.72 * height), (neck, 0.84 * height)]
    solid = turned(body)
    for k in range(18):  # the cap's grip
        turn = (0, 0, 20.0 * k)
        solid += box((0.0016, 0.0016, 0.09 * height), (0.97 * cap, 0, 0.94 * height)).rotate(turn)
    return Shape(
        solid,
        (spindle(lower), spindle([(neck, 0.80 * height), (cap, 0.87 * height), (cap, height)], 10)),
    )


@family("mug", surface="plastic", look="ceramic", density=2300.0)  # glazed: as smooth as plastic
def mug(size: int) -> Shape:
    """A mug with rounded corners, so that four flat walls hold its cavity open, and a handle."""
    half, height, wall = (0.025, 0.027, 0.029)[size], (0.056, 0.061, 0.066)[size], 0.0065
    corner, inner, floor = 0.5 * half, half - wall, 0.008
    middle = height / 2
    solid = chamfered(rounded(2 * half, 2 * half, corner, 8), height, 0.0012).translate((0, 0, middle))
    solid -= extruded(rounded(2 * inner, 2 * inner, 0.008, 6), height).translate((0, 0, middle + floor))
    # The handle: a loop in the x-z plane, `bar` thick.
    bar, reach, low, high, across = 0.008, 0.020, 0.14 * height, 0.90 * height, 0.012
    loop = extruded(rounded(reach + 0.010, high - low, 0.010), across)
    loop -= extruded(rounded(reach + 0.010 - 2 * bar, high - low - 2 * bar, 0.004), 2 * across)
    loop = loop.rotate((90, 0, 0)).translate((half + (reach - 0.010) / 2, 0, (low + high) / 2))
    solid += loop.trim_by_plane((1, 0, 0), half - 0.5 * wall)

    block = extruded(rounded(2 * half, 2 * half, corner, 4), height).translate((0, 0, middle))
    walls = [block.trim_by_plane((x, y, 0), inner) for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    length = reach - 0.003
    bars = [box((length, across, bar), (half + length / 2 - 0.001, 0, z)) for z in (low + bar / 2, high - bar / 2)]
    bars.append(box((bar, across, high - low - 0.008), (half + reach - bar / 2, 0, (low + high) / 2)))
    return Shape(
        solid,
        (block.trim_by_plane((0, 0, -1), -floor), *walls, *bars),
        (
            Region(
                "cavity", "box", (0.94 * inner, 0.94 * inner, (height - floor) / 2 - 0.001), (0, 0, middle + floor / 2)
            ),
            Region(
                "handle",
                "box",
                ((reach - bar) / 2 - 0.001, across / 2, (high - low) / 2 - bar - 0.001),
                (half + (reach - bar) / 2, 0, (low + high) / 2),
            ),
        ),
    )


@family("spring_cover", surface="plastic", look="plastic_black", density=1300.0)
def spring_cover(size: int) -> Shape:
    """A spring's dust cover: a pleated cone of thermoplastic elastomer, closed on top, open below."""
    low, top, height = (0.026, 0.029, 0.032)[size], (0.019, 0.021, 0.023)[size], (0.052, 0.060, 0.068)[size]
    wall, roof, pleats = 0.0065, 0.007, 5

    def radius(z: float) -> float:
        return low + (top - low) * z / height

    outside = [(low + 0.0015, 0.0), (low + 0.0015, 0.005), (radius(0.006), 0.006)]
    for k in range(pleats):
        start, end = (0.006 + (height - 0.012) * (k + part) / pleats for part in (0, 1))
        outside += [(radius(start) + 0.0012, 0.65 * start + 0.35 * end), (radius(end) - 0.0012, end)]
    outside += [(top - 0.001, height - 0.004), (0.82 * top, height)]
    cave = [(low - wall, 0.0), (top - wall, height - roof)]
    solid = turned([cave[0], *outside, (0.0, height), (0.0, cave[1][1]), cave[1]])
    walls = ring_pieces(
        [(low + 0.0015, 0), (low + 0.0015, 0.005), (top + 0.0003, height - 0.003), (0.9 * top, height)],
        [cave[0], (cave[1][0], height)],
        6,
        2,
    )
    lid = spindle([(top - 0.5 * wall, height - roof), (0.9 * top, height)])
    depth = height - roof
    return Shape(
        solid, (*walls, lid), (Region("cavity", "cylinder", (0.85 * cave[1][0], depth / 2), (0, 0, depth / 2)),)
    )


@family("drum", surface="plastic", look="plastic_red", density=2400.0)  # the reel full of copper cable
def drum(size: int) -> Shape:
    """A cable drum: two flanges, and between them the cable, wound in rings."""
    r, width = (0.027, 0.030, 0.034)[size], (0.042, 0.048, 0.054)[size]
    flange, core, cable = 0.0065, 0.68 * r, 0.004
    h = width / 2
    inside = h - flange
    turns = round(2 * inside / cable)
    pitch = 2 * inside / turns
    wound: list[tuple[float, float]] = [(core - 0.4 * cable, -inside)]
    for k in range(turns):
        z = -inside + pitch * k
        wound += [(core, z + 0.25 * pitch), (core, z + 0.75 * pitch), (core - 0.4 * cable, z + pitch)]
    half = [
        (0.0, -h + 0.002),
        (0.30 * r, -h + 0.002),
        (0.30 * r, -h),
        (0.45 * r, -h),
        (0.45 * r, -h + 0.0008),
        (0.86 * r, -h + 0.0008),
        (0.86 * r, -h),
        (r - 0.0008, -h),
        (r, -h + 0.0008),
        (r, -inside),
    ]
    solid = turned([*half, *wound, *((x, -z) for x, z in reversed(half))], sides=30)
    ends = [prism(r, flange, (0, 0, side * (h - flange / 2)), sides=12) for side in (-1, 1)]
    return Shape(solid, (*ends, prism(core - 0.0005, 2 * inside + 0.001, sides=10)))


@family("connector", surface="plastic", look="plastic_orange", density=1500.0)
def connector(size: int) -> Shape:
    """An industrial plug: a hood with two locking pins, a collar at its mouth and a cable gland on top."""
    length, width, height = (0.060, 0.072, 0.084)[size], (0.034, 0.038, 0.043)[size], (0.038, 0.042, 0.046)[size]
    gland, stem, mouth = 0.30 * width, 0.019, 0.012
    hood = chamfered(rounded(length, width, 0.006), height, 0.002).translate((0, 0, height / 2))
    collar = extruded(rounded(length + 0.005, width + 0.005, 0.004), mouth).translate((0, 0, mouth / 2))
    # The mouth with its contacts, 2 mm deep.
    collar -= extruded(rounded(length - 0.006, width - 0.006, 0.003), 0.004)
    hood -= extruded(rounded(length - 0.006, width - 0.006, 0.003), 0.004)
    solid = hood + collar
    for k in range(5):
        solid += cylinder(0.0022, 0.003, ((k - 2) * 0.15 * length, 0, 0.0015), sides=16)
    for side in (-1, 1):
        solid += cylinder(0.003, 0.003, (0, side * (width / 2 + 0.001), 0.6 * height), axis="y", sides=24)
    x = 0.2 * length
    solid += prism(1.1 * gland, 0.008, (x, 0, height + 0.004), sides=6)
    solid += cylinder(gland, stem, (x, 0, height + stem / 2), top=0.72 * gland)
    return Shape(
        solid,
        (
            box((length - 0.001, width - 0.001, height - 0.006), (0, 0, (height + 0.006) / 2)),
            box((length + 0.0045, width + 0.0045, mouth), (0, 0, mouth / 2)),
            spindle(
                [(1.06 * gland, height - 0.001), (1.02 * gland, height + 0.008), (0.72 * gland, height + stem)], 8
            ).translate((x, 0, 0)),
        ),
    )
