"""Makes the collision pieces of the free-form parts anew, and prints how every part's proxy passes the gate.

python -m assets.parts            decompose, write free_form.json, print the table
python -m assets.parts --check    print the table only; exit 1 if a part fails the gate
"""

from __future__ import annotations

import json
import sys

import numpy as np

from assets.parts import FAMILIES, SIZES, part
from assets.parts.base import FREE_FORM, REGISTRY, Part, bare_part
from assets.proxies.gate import Report, gate
from assets.proxies.proxy import make_proxy

ROW = "{:16}{:>18}{:>11}{:>7}{:>10}{:>9}{:>9}{:>10}  {}"


def decomposed(bare: Part) -> list[list[list[int]]]:
    """The pieces that CoACD makes of a part of free form: whole micrometres, (hulls, vertices, 3)."""
    proxy = make_proxy(bare.visual, bare.regions, REGISTRY[bare.family].limits)
    return [np.round(1e6 * hull).astype(int).tolist() for hull in proxy.hulls]


def report(part: Part) -> Report:
    """The gate's report on a part's pieces."""
    return gate(part.visual, part.hulls, part.regions, REGISTRY[part.family].limits)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__)
        return 2
    if not arguments:
        bare = [bare_part(name, size) for name in FAMILIES for size in range(SIZES)]
        stored = {b.visual.name: decomposed(b) for b in bare if not b.hulls}
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(hulls)}" for name, hulls in stored.items())
        FREE_FORM.write_text(f"{{\n{lines}\n}}\n")
    print(ROW.format("part", "bounding box [mm]", "mass [kg]", "hulls", "vertices", "false", "missing", "depth", ""))
    passed = True
    for name in FAMILIES:
        for size in range(SIZES):
            passed &= _print_row(part(name, size))
    return 0 if passed else 1


def _print_row(part: Part) -> bool:
    result = report(part)
    box = " x ".join(f"{1e3 * edge:.0f}" for edge in np.ptp(part.visual.vertices, axis=0))
    shares = (result[name] for name in ("false_volume", "missing_volume", "false_depth_m"))
    worst = result.worst
    verdict = "" if result.passed else f"FAILS: {worst.says} {worst.text(worst.value)}, not {worst.text(worst.limit)}"
    vertices = sum(len(hull) for hull in part.hulls)
    figures = (f"{part.mass:.3f}", len(part.hulls), vertices, *(m.text(m.value) for m in shares))
    print(ROW.format(part.visual.name, box, *figures, verdict))
    return result.passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
