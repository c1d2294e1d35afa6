"""`palletlab list`: what there is to choose from."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from assets.arms import ARMS
from assets.errors import unknown
from palletlab.config import CONF
from tasks.palletizing.variants import palletizing_knobs
from tasks.rollout import POLICIES

KINDS = ("tasks", "robots", "policies", "variations", "knobs")


def run(arguments: list[str]) -> int:
    """Print one kind of thing, or all of them."""
    wanted = arguments or list(KINDS)
    for kind in wanted:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    console = Console()
    for kind in wanted:
        console.print(_knobs() if kind == "knobs" else _others(kind))
    return 0


def _others(kind: str) -> Table:
    table = Table(title=kind, title_justify="left", show_header=False, box=None)
    if kind == "tasks":
        table.add_row("palletizing", "mixed cartons from a conveyor onto an EPAL pallet; palletlab/Palletizing-v0")
    elif kind == "robots":
        for name, make in ARMS.items():
            arm = make()
            table.add_row(name, f"payload {arm.payload:g} kg (gripper included), reach {arm.reach:g} m")
    elif kind == "policies":
        for name, make in POLICIES.items():
            table.add_row(name, (make.__doc__ or "").splitlines()[0])
    else:
        for path in sorted((CONF / "variation").glob("*.yaml")):
            table.add_row(
                path.stem, " ".join(line[2:] for line in path.read_text().splitlines() if line.startswith("# "))
            )
    return table


def _knobs() -> Table:
    table = Table(title="knobs", title_justify="left", box=None)
    for column in ("knob", "unit", "shape", "bounds", "nominal", "what it is"):
        table.add_column(column)
    for name, knob in palletizing_knobs(24).items():
        shape = " x ".join(str(s) for s in knob.shape) or "-"
        table.add_row(name, knob.unit, shape, f"{knob.lower} … {knob.upper}", str(knob.nominal), knob.says)
    return table
