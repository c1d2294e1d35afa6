"""Machine parts of metal: gear, bracket, bearing, bolt, flat plate, pull handle, pipe elbow."""

from __future__ import annotations

import numpy as np

from assets.parts.base import Shape, family
from assets.parts.solids import (
    box,
    chamfered,
    circle,
    cylinder,
    extruded,
    layer,
    piece,
    prism,
    ring_pieces,
    rounded,
    spindle,
    turned,
)
from assets.proxies.gate import Region
from assets.proxies.solids import Solid

ALUMINIUM, BRASS, STEEL, ZINC = 2700.0, 8400.0, 7850.0, 6600.0  # [kg/m^3]


@family("gear", surface="metal", look="steel", density=STEEL)
def gear(size: int) -> Shape:
    """A spur gear with a bore and keyway: module 2 mm, 24 to 32 teeth."""
    teeth, height, bore, module = (24, 28, 32)[size], (0.014, 0.016, 0.018)[size], (0.006, 0.007, 0.008)[size], 0.002
    pitch = module * teeth / 2
    tip, root = pitch + module, pitch - 1.25 * module
    step = 2 * np.pi / teeth
    # Straight flanks: a tooth is 0.5 of its pitch wide at the pitch circle, 0.26 at the tip and 0.66 at the root.
    corners = [(root, -0.33), (pitch, -0.25), (tip, -0.13), (tip, 0.13), (pitch, 0.25), (root, 0.33)]
    outline = np.array(
        [(r * np.cos(a), r * np.sin(a)) for k in range(teeth) for r, at in corners for a in [step * (k + at)]]
    )
    blank = extruded(outline, height)
    mean = float(np.sqrt(blank.volume() / height / np.pi))
    hub, rim = bore + 0.006, root - 0.004
    for side in (-1, 1):  # the web lies a little deeper than hub and rim
        face = (0, 0, side * height / 2)
        blank -= cylinder(rim, 0.0016, face) - cylinder(hub, 0.0016, face)
    blank -= cylinder(bore, 2 * height) + box((2 * bore, 0.3 * 2 * bore, 2 * height), (0.3 * bore, 0, 0))
    ends = (-height / 2, height / 2)
    return Shape(
        blank,
        ring_pieces([(mean, z) for z in ends], [(bore, z) for z in ends], 4, steps=4),
        (Region("bore", "cylinder", (0.8 * bore, height / 2)),),
    )


@family("bracket", surface="metal", look="aluminium", density=ALUMINIUM)
def bracket(size: int) -> Shape:
    """An angle bracket: two legs with two holes each, and a rib between them."""
    leg, width, thick = (0.060, 0.072, 0.084)[size], (0.044, 0.050, 0.056)[size], (0.007, 0.008, 0.009)[size]
    reach = 0.62 * leg  # of the rib along the legs
    rib = piece(
        [
            (x, y, z)
            for y in (-thick / 2, thick / 2)
            for x, z in (
                (0.5 * thick, 0.5 * thick),
                (reach, 0.5 * thick),
                (0.5 * thick, reach),
                (reach, thick),
                (thick, reach),
            )
        ]
    )
    foot = box((leg, width, thick), (leg / 2, 0, thick / 2))
    wall = box((thick, width, leg), (thick / 2, 0, leg / 2))
    plate = chamfered(rounded(leg, width, 0.006), thick, 0.0008)
    solid = plate.translate((leg / 2, 0, thick / 2)) + plate.rotate((0, -90, 0)).translate((thick / 2, 0, leg / 2))
    solid += box((0.012, width, thick), (0.006, 0, thick / 2)) + box((thick, width, 0.012), (thick / 2, 0, 0.006)) + rib
    for side in (-1, 1):
        solid -= cylinder(0.0035, 0.05, (0.72 * leg, side * 0.3 * width, 0))
        solid -= cylinder(0.0035, 0.05, (0, side * 0.3 * width, 0.72 * leg), axis="x")
    return Shape(solid, (foot, wall, rib))


@family("bearing", surface="metal", look="steel", density=5600.0)  # steel, less the air between the balls
def bearing(size: int) -> Shape:
    """A shielded deep groove ball bearing: 6204, 6205, 6206 (bore, outside diameter and width after ISO 15)."""
    bore, outer, width = ((0.020, 0.047, 0.014), (0.025, 0.052, 0.015), (0.030, 0.062, 0.016))[size]
    r, s, h, edge = bore / 2, outer / 2, width / 2, 0.001
    ring = 0.24 * (s - r)  # thickness of either ring
    shield = h - 0.0012
    solid = turned(
        [
            (r, -h + edge), (r + edge, -h), (r + ring, -h), (r + ring, -shield), (s - ring, -shield), (s - ring, -h),
            (s - edge, -h), (s, -h + edge), (s, h - edge), (s - edge, h), (s - ring, h), (s - ring, shield),
            (r + ring, shield), (r + ring, h), (r + edge, h), (r, h - edge),
        ]
    )  # fmt: skip
    outside = [(s - edge, -h), (s, -h + edge), (s, h - edge), (s - edge, h)]
    return Shape(
        solid,
        ring_pieces(outside, [(r, -h), (r, h)], 6),
        (Region("bore", "cylinder", (0.85 * r, h)),),
    )


@family("bolt", surface="metal", look="zinc", density=STEEL)
def bolt(size: int) -> Shape:
    """A hexagon head bolt: M16 x 60, M20 x 70, M24 x 80 (heads after ISO 4014)."""
    nominal, length, across, head = (
        (0.016, 0.060, 0.024, 0.010),
        (0.020, 0.070, 0.030, 0.0125),
        (0.024, 0.080, 0.036, 0.015),
    )[size]
    r, corner = nominal / 2, across / np.sqrt(3)
    hexagon = extruded(circle(corner, 6), head)
    # The chamfer that turns a head's upper rim round, 30 degrees.
    cap = turned(
        [
            (0, -head / 2),
            (1.3 * corner, -head / 2),
            (1.3 * corner, 0.05 * head),
            (0.9 * across / 2, head / 2),
            (0, head / 2),
        ]
    )
    crests = int(0.62 * length / 0.0025)
    start, lead = -length, 0.62 * length / crests
    thread = [(0.0, start), (0.8 * r, start), (r, start + lead)]
    for k in range(1, crests):
        thread += [(0.87 * r, start + lead * (k + 0.5)), (r, start + lead * (k + 1))]
    shank = turned([*thread, (r, 0.001), (0.0, 0.001)], sides=24)
    return Shape(
        (hexagon ^ cap).translate((0, 0, head / 2)) + shank,
        (
            hexagon.translate((0, 0, head / 2)),
            spindle([(0.8 * r, -length), (0.94 * r, -length + lead), (0.94 * r, 0.001)], 8),
        ),
    )


@family("plate", surface="metal", look="blued_steel", density=STEEL)
def plate(size: int) -> Shape:
    """A flat mounting plate with four holes."""
    length, width, thick = (0.085, 0.105, 0.125)[size], (0.046, 0.054, 0.062)[size], (0.008, 0.010, 0.012)[size]
    outline = rounded(length, width, 0.006)
    solid = chamfered(outline, thick, 0.001)
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (length / 2 - 0.011), y * (width / 2 - 0.011), 0)
            solid -= cylinder(0.004, 0.05, at, sides=32)
    return Shape(solid, (box((length, width, thick)),))


@family("handle", surface="metal", look="arm_metal", density=ZINC)
def handle(size: int) -> Shape:
    """A pull handle, die-cast: a round bar with two feet."""
    length, height, r = (0.105, 0.120, 0.135)[size], (0.040, 0.044, 0.048)[size], (0.0070, 0.0075, 0.0080)[size]
    solid = cylinder(r, length - 2 * r, (0, 0, height - r), axis="x")
    pieces = [prism(r, length, (0, 0, height - r), axis="x", sides=8)]
    for side in (-1, 1):
        x = side * (length / 2 - r)
        solid += cylinder(r, height - r, (x, 0, (height - r) / 2)) + cylinder(1.35 * r, 0.006, (x, 0, 0.003))
        solid += knuckle(r).translate((x, 0, height - r))
        pieces.append(prism(1.1 * r, height - r, (x, 0, (height - r) / 2), sides=8))
    opening = (length / 2 - 2.4 * r, 0.8 * r, height / 2 - 1.1 * r)
    return Shape(solid, tuple(pieces), (Region("handle", "box", opening, (0, 0, height / 2 - r)),))


@family("elbow", surface="metal", look="brass", density=BRASS)
def elbow(size: int) -> Shape:
    """A pipe elbow, 90 degrees, with a collar at each end."""
    outer, bore, reach = (0.015, 0.017, 0.019)[size], (0.0075, 0.0085, 0.0095)[size], (0.030, 0.034, 0.038)[size]
    neck, collar = outer - 0.0012, 0.011
    solid, hollow = knuckle(neck), knuckle(bore)
    for axis, toward in (("x", (1, 0, 0)), ("z", (0, 0, 1))):
        along = np.array(toward)
        solid += cylinder(neck, reach, tuple(along * reach / 2), axis)
        solid += cylinder(outer, collar, tuple(along * (reach - collar / 2)), axis)
        hollow += cylinder(bore, 2 * reach, tuple(along * reach), axis)
    mean = outer - 0.0007
    ends = (-2 * outer, reach)
    upright = []
    for sector in ring_pieces([(mean, z) for z in ends], [(bore, z) for z in ends], 4, steps=3):
        # Mitred against the other leg, and the outer corner of the mitre cut off.
        upright.append(sector.trim_by_plane((-1, 0, 1), 0.0).trim_by_plane((1, 0, 1), -mean))
    swap = np.array([[0, 0, 1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], dtype=np.float64)
    inside = (0.8 * bore, 0.4 * reach)
    return Shape(
        solid - hollow,
        (*upright, *(sector.transform(swap) for sector in upright)),
        (
            Region("bore_up", "cylinder", inside, (0, 0, 0.6 * reach)),
            Region("bore_across", "cylinder", inside, (0.6 * reach, 0, 0), (np.sqrt(0.5), 0, np.sqrt(0.5), 0)),
        ),
    )


def knuckle(radius: float) -> Solid:
    """A ball that rounds the corner where two bars of that radius meet."""
    return piece(*(layer(circle(radius * np.cos(a), 24), radius * np.sin(a)) for a in np.linspace(-1.5, 1.5, 13)))
