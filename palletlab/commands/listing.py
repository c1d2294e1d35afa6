"""`palletlab list`: what there is to choose from, for every task or for one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from assets.arms import ARMS
from assets.errors import unknown
from palletlab.config import options
from palletlab.learned import SAYS
from palletlab.robots import ROBOTS
from tasks.families import FAMILIES, family
from tasks.random_policy import RandomPolicy
from tasks.rollout import RANDOM
from tasks.task import TaskFamily

KINDS = ("tasks", "robots", "policies", "variations", "knobs")


def run(arguments: list[str]) -> int:
    """Print some kinds of things, or all of them; `task=` leaves out what belongs to other tasks."""
    named = [a.removeprefix("task=") for a in arguments if a.startswith("task=")]
    tasks = [family(name) for name in named or FAMILIES]
    wanted = [a for a in arguments if not a.startswith("task=")] or list(KINDS)
    for kind in wanted:
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS)
    console = Console()
    for kind in wanted:
        for table in _tables(kind, tasks):
            console.print(table)
    return 0


def _tables(kind: str, tasks: Sequence[TaskFamily]) -> list[Table]:
    if kind == "tasks":
        return [_table(kind, [row for task in tasks for row in _task_rows(task)])]
    if kind == "robots":
        arms = {name: make() for name, make in ARMS.items()}
        says = {n: f"payload {a.payload:g} kg (tool included), reach {a.reach:g} m" for n, a in arms.items()}
        real = {
            path.stem: path.read_text().splitlines()[0].removeprefix("# ") for path in sorted(ROBOTS.glob("*.yaml"))
        }
        title = "robots to identify and to validate on (robot=)"
        return [_table("arms of the scenes (robot=)", list(says.items())), _table(title, list(real.items()))]
    if kind == "knobs":
        return [_knobs(task) for task in tasks]
    rows = _policy_rows if kind == "policies" else _variation_rows
    return [_table(f"{kind} of {task.name}", rows(task)) for task in tasks]


def _task_rows(task: TaskFamily) -> list[tuple[str, str]]:
    stages = [(f"  task.stage={stage}", task.environment_id(stage)) for stage in task.stages]
    return [(task.name, f"{task.says}; {task.environment_id()}"), *stages]


def _policy_rows(task: TaskFamily) -> list[tuple[str, str]]:
    policies = {**task.policies, RANDOM: RandomPolicy}
    made = [(name, (make.__doc__ or "").splitlines()[0]) for name, make in policies.items()]
    return [*made, *SAYS.items()]


def _variation_rows(task: TaskFamily) -> list[tuple[str, str]]:
    lines = {name: path.read_text().splitlines() for name, path in options("variation", task.name).items()}
    return [(name, " ".join(line[2:] for line in told if line.startswith("# "))) for name, told in lines.items()]


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    return table


def _knobs(task: TaskFamily) -> Table:
    table = Table(title=f"knobs of {task.name}", title_justify="left", box=None)
    for column in ("knob", "unit", "shape", "bounds", "nominal", "what it is"):
        table.add_column(column)
    for name, knob in task.knobs(task.slots).items():
        shape = " x ".join(str(s) for s in knob.shape) or "-"
        table.add_row(name, knob.unit, shape, f"{knob.lower} … {knob.upper}", str(knob.nominal), knob.says)
    return table
