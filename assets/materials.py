"""Surface materials and the friction between them.

Sources: "CTU Code": IMO/ILO/UNECE Code of Practice for Packing of Cargo Transport Units, appendix 2 (static, clean and
dry; the dynamic factor is to be taken as 75 % of it). "SAE": SAE 2002-01-3104 (HDPE pallets). "estimate": no published
figure found; its range is wide and wants to be identified.
"""

from __future__ import annotations

from dataclasses import dataclass

from assets.errors import InputError, unknown

SURFACES = {
    "cardboard": "untreated corrugated board: cartons",
    "wood": "sawn timber: wooden pallets",
    "plywood": "plywood or fabric base laminate: loading floors",
    "plastic": "HDPE: totes, plastic pallets",
    "metal": "smooth, painted or stainless: arms, rails, housings",
    "belt": "a conveyor's PVC belt",
    "rubber": "the soft lips of suction cups",
    "pads": "ribbed elastomer: the pads of a gripper's fingers",
    "mat": "an anti-slip rubber mat: tables, dollies",
    "concrete": "the floor",
}

DYNAMIC_PART = 0.75  # of the static friction factor (CTU Code)


@dataclass(frozen=True)
class Friction:
    """Friction between two surfaces.

    Attributes:
        static: factor at which it starts to slide.
        dynamic: factor while it slides.
        range: static factors to draw from when randomizing.
        source: where the factors are from.
    """

    static: float
    dynamic: float
    range: tuple[float, float]
    source: str


def friction(a: str, b: str) -> Friction:
    """The friction between surfaces `a` and `b`, in either order; InputError for a surface or pair that has none."""
    for surface in (a, b):
        if surface not in SURFACES:
            raise unknown("surface", surface, SURFACES)
    pair = frozenset((a, b))
    if pair not in FRICTIONS:
        partners = sorted(min(p - {a}, default=a) for p in FRICTIONS if a in p)
        raise InputError(f"no friction is known between {a!r} and {b!r}: for {a!r} there is {', '.join(partners)}")
    return FRICTIONS[pair]


def _cited(static: float, source: str, dynamic: float | None = None) -> Friction:
    """A published factor; goods, dust and moisture make it vary by a quarter."""
    moving = DYNAMIC_PART * static if dynamic is None else dynamic
    return Friction(static, moving, (0.75 * static, 1.25 * static), source)


def _guess(low: float, high: float) -> Friction:
    middle = (low + high) / 2
    return Friction(middle, DYNAMIC_PART * middle, (low, high), "estimate")


_CTU = "CTU Code, appendix 2"

FRICTIONS: dict[frozenset[str], Friction] = {
    frozenset(pair): values
    for pair, values in (
        (("cardboard", "cardboard"), _cited(0.5, _CTU)),
        (("cardboard", "wood"), _cited(0.5, _CTU)),
        (("cardboard", "plywood"), _guess(0.30, 0.55)),
        (("cardboard", "plastic"), _guess(0.2, 0.5)),
        (("cardboard", "metal"), _guess(0.2, 0.5)),
        (("cardboard", "belt"), _guess(0.4, 0.8)),
        (("cardboard", "rubber"), _guess(0.4, 0.8)),
        (("cardboard", "concrete"), _guess(0.4, 0.7)),
        (("wood", "wood"), _guess(0.35, 0.65)),
        (("wood", "plywood"), _cited(0.45, _CTU)),
        (("wood", "plastic"), _cited(0.31, "SAE 2002-01-3104", dynamic=0.20)),
        (("wood", "metal"), _cited(0.3, _CTU)),
        (("wood", "belt"), _guess(0.4, 0.8)),
        (("wood", "rubber"), _guess(0.5, 0.9)),
        (("wood", "concrete"), _cited(0.7, _CTU)),
        (("plastic", "plywood"), _cited(0.2, _CTU)),
        (("plastic", "plastic"), _guess(0.15, 0.35)),
        (("plastic", "metal"), _cited(0.15, _CTU)),
        (("plastic", "belt"), _guess(0.3, 0.6)),
        (("plastic", "rubber"), _guess(0.4, 0.8)),
        (("plastic", "concrete"), _guess(0.2, 0.5)),
        (("metal", "metal"), _cited(0.2, _CTU)),
        (("metal", "plywood"), _cited(0.45, _CTU)),
        (("metal", "belt"), _guess(0.3, 0.6)),
        (("metal", "rubber"), _guess(0.4, 0.8)),
        (("metal", "concrete"), _guess(0.3, 0.6)),
        (("belt", "rubber"), _guess(0.5, 0.9)),
        (("rubber", "concrete"), _guess(0.5, 0.9)),
        (("pads", "plastic"), _guess(0.4, 0.8)),
        (("pads", "metal"), _guess(0.4, 0.8)),
        (("pads", "mat"), _guess(0.6, 1.0)),
        (("mat", "plastic"), _guess(0.4, 0.8)),
        (("mat", "metal"), _guess(0.4, 0.8)),
    )
}
