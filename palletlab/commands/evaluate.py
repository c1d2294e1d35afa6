"""`palletlab evaluate`: how well a policy does, with confidence intervals, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from palletlab import config as settings
from palletlab.commands.generate import write_variants
from palletlab.commands.rollout import go, prepare_rows
from palletlab.report import evaluation_page
from palletlab.run_folder import run_folder, write_result
from tasks.dataset.reader import open_dataset
from tasks.evaluation import evaluate


def run(arguments: list[str]) -> int:
    """Evaluate a dataset, or run the policy first."""
    config = settings.load("evaluate", arguments)
    given = None if config.dataset is None else Path(config.dataset)
    # A damaged dataset is refused before a folder is made.
    if given is not None:
        open_dataset(given)
    rows = prepare_rows(config) if given is None else None
    with run_folder("evaluate", config) as folder:
        root = given or folder / "dataset"
        if rows is not None:
            write_variants(folder, rows, None)
            go(config, rows, folder, resuming=False)
        result = evaluate(open_dataset(root))
        write_result(folder, result)
        evaluation_page(result, folder / "evaluation.html")
    say(Console(), result)
    print(folder / "evaluation.html")
    print(folder)
    return 0


def say(console: Console, result: dict[str, Any]) -> None:
    """Print the figures and the causes of failure."""
    table = Table(box=None, title=f"{result['task']}, {len(result['episodes'])} episodes", title_justify="left")
    for column in ("", "value", "95 % from", "to", "unit"):
        table.add_column(column)
    for name, figure in result["figures"].items():
        table.add_row(name.replace("_", " "), *(_number(figure[k]) for k in ("value", "low", "high")), figure["unit"])
    console.print(table)
    for cause, count in result["failures_by_cause"].items():
        console.print(f"  {count} x {cause}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
