"""Parts: small industrial goods that lie in totes, a dozen and more families of three sizes each.

`pool()` is all of them, in the order that gives a world's part knob its meaning: family times SIZES plus size. To add a
family, write one decorated function (see `base`) in a file of its own, and name the file at the end of `MODULES`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from assets.parts.base import MAX_HULLS, MAX_VERTICES, REGISTRY, SAMPLES, SIZES, Family, Part, Shape, family, part

# Where the families are. New ones come last: what stands before keeps its number.
MODULES = ("machine_parts", "plastic_parts", "free_parts")
for _module in MODULES:
    import_module(f"assets.parts.{_module}")

FAMILIES: tuple[str, ...] = tuple(REGISTRY)

__all__ = [
    "FAMILIES",
    "MAX_HULLS",
    "MAX_VERTICES",
    "SAMPLES",
    "SIZES",
    "Family",
    "Part",
    "Shape",
    "family",
    "part",
    "pool",
]


@cache
def pool() -> tuple[Part, ...]:
    """Every part: all sizes of all families, at index family * SIZES + size."""
    return tuple(part(name, size) for name in FAMILIES for size in range(SIZES))
