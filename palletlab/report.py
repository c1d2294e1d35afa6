"""The HTML pages: of a dataset, of an evaluation, of the demo.

Each is one file with its videos and plots inside. Start reading at `dataset_page`, `evaluation_page`, `demo_page`; what
an episode shows stands in `palletlab.episode_parts`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palletlab.episode_parts import cycle_times, episode_part, knob_table, reasons_of
from palletlab.media import contact_sheet, png_bytes
from palletlab.orders import Planned
from palletlab.page import Cell, Page, badge, bars, picture, table, tiles
from palletlab.plan_figure import plan_figure
from palletlab.plots import Column, column_plot
from tasks.dataset.reader import Dataset, open_dataset
from tasks.evaluation import cause_of
from tasks.figures import success_interval
from tasks.packing.orders import Order
from tasks.simulation import Settings

__all__ = [
    "contact_sheet",
    "dataset_page",
    "demo_page",
    "evaluation_page",
    "png_bytes",
]

VIDEO_BYTES = 24_000_000  # of all videos of a page
MOST_KNOBS = 8  # that success is plotted against
MISSING = "-"


def dataset_page(root: Path, out: Path, episodes: Sequence[int] | None = None, limit: int = 12) -> None:
    """Write the page of a dataset: its figures, some episodes with videos and plots, and all knobs.

    Args:
        root: the dataset's folder.
        out: the HTML file; an older one is replaced.
        episodes: which to show, by number. Without it up to `limit`, half of them failures where there are so many.
        limit: how many to show at most when `episodes` does not say.

    Raises:
        InputError: no dataset, a damaged one, or an episode that it does not have.
    """
    dataset = open_dataset(root)
    page = Page(f"Dataset {Path(root).resolve().name}", _described(dataset))
    _add_dataset(page, dataset, episodes, limit)
    page.write(out)


def evaluation_page(result: Mapping[str, Any], out: Path) -> None:
    """Write the page of an evaluation.

    Args:
        result: plain numbers and texts, as in `result.json`:
            `thing`: what the task handles, e.g. "carton";
            `figures`: {name: {value, low, high, unit}}, low and high the ends of the 95 % interval;
            `failures_by_cause`: {cause: count};
            `by_knob`: [{knob, bins: [{low, high, n, success}]}], success the share of n that succeeded;
            `episodes`: [{variant, success, reasons, done, of, seconds}].
        out: the HTML file; an older one is replaced.
    """
    number = len(result["episodes"])
    page = Page("Evaluation", f"{number} episode{'s' * (number != 1)}; intervals are 95 % confidence intervals")
    _add_evaluation(page, result)
    page.write(out)


def demo_page(
    out: Path,
    *,
    title: str,
    planned: Planned | None,
    sheet: NDArray[np.uint8] | bytes | None,
    captions: Sequence[str],
    columns: int,
    dataset: Path,
    result: Mapping[str, Any],
    commands: Sequence[str],
    episodes: Sequence[int] | None = None,
    limit: int = 4,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write one page with everything the demo made of a task.

    Args:
        out: the HTML file; an older one is replaced.
        title: the page's title.
        planned: the order that was to be stacked, and its plan; None where the task stacks none.
        sheet: the contact sheet of the variants, an image [height, width, 3] or a PNG file's bytes; None: not rendered.
        captions: one for each tile of the sheet.
        columns: tiles in a row of the sheet.
        dataset: folder of the recorded episodes.
        result: of the evaluation; see `evaluation_page`.
        commands: what to try next, a command line each.
        episodes: which episodes to show; see `dataset_page`.
        limit: how many episodes to show at most.
        links: the demo's other pages, title and address of each.
    """
    opened = open_dataset(dataset)
    page = Page(title, "" if planned is None else _planned_told(planned))
    if planned is not None:
        page.section("Order", _order_table(planned.order))
        figures = [
            f'<div class="card"><h3>Pallet {number}</h3>{plan_figure(boxes)}</div>'
            for number, boxes in enumerate(planned.boxes(), 1)
        ]
        page.section("Plan", *figures, note="The number on a carton is its place in the sequence, counted from 0.")
    if sheet is not None:
        png = sheet if isinstance(sheet, bytes) else png_bytes(sheet)
        page.section("Variants", _sheet(png, captions, columns))
    _add_dataset(page, opened, episodes, limit)
    _add_evaluation(page, result)
    if links:
        others = " ".join(f'<a href="{escape(address)}">{escape(name)}</a>' for name, address in links.items())
        page.section("More of the demo", f"<p>{others}</p>")
    page.section("Try next", *(f"<pre>{escape(command)}</pre>" for command in commands))
    page.write(out)


# ---- dataset -------------------------------------------------------------------------------------------------


def _described(dataset: Dataset) -> str:
    cameras = ", ".join(f"{name} {width} x {height}" for name, (height, width) in dataset.features.cameras.items())
    return f"{dataset.features.robot_type}, {dataset.features.fps} frames per second, cameras {cameras}"


def _add_dataset(page: Page, dataset: Dataset, episodes: Sequence[int] | None, limit: int) -> None:
    task = Settings.from_dict(dataset.settings["simulation"]).family
    described = [dataset.metadata(number) for number in range(len(dataset))]
    n, good = len(described), sum(entry["success"] for entry in described)
    low, high = success_interval(good, n)
    cycles = [cycle for entry in described for cycle in cycle_times(entry.get("events", []), task.thing).values()]
    head = [
        ("episodes", str(n), f"and {len(dataset.quarantined)} quarantined"),
        ("success", _percent(good / n) if n else MISSING, f"95 %: {_percent(low)} to {_percent(high)}, {good} of {n}"),
        ("frames", f"{dataset.frames_in_all:,}", f"{dataset.features.fps} per second"),
        ("simulated time", f"{dataset.frames_in_all / dataset.features.fps / 3600:.2f} h", ""),
    ]
    if cycles:
        head.append(("cycle time", f"{np.median(cycles):.1f} s", f"median of {len(cycles)} {task.thing}s"))
    why = Counter(cause for entry in described for cause in {cause_of(reason) for reason in reasons_of(entry)})
    causes = f'<div class="card"><h3>Failures by cause, in episodes</h3>{bars(why)}</div>' if why else ""
    tasks = "".join(f"<p>Task: {escape(sentence)}</p>" for sentence in dataset.tasks)
    page.section("Dataset", tasks, tiles(head), causes)

    chosen = _chosen([entry["success"] for entry in described], limit) if episodes is None else list(episodes)
    budget = VIDEO_BYTES // max(1, len(chosen) * len(dataset.features.cameras))
    shown = [episode_part(dataset, number, task, video_bytes=budget) for number in chosen]
    links = " ".join(f'<a href="#episode-{number}">{number}</a>' for number in chosen)
    note = f"{len(chosen)} of {n} are shown. Cameras play together; a click into a plot goes to that moment."
    page.section("Episodes", f"<p>{links}</p>", *shown, note=note)
    table_of_knobs, note = knob_table(described, dataset.quarantined, chosen, task)
    page.section("Knobs", table_of_knobs, note=note)
    if dataset.quarantined:
        rows = [[Cell(str(q["variant"]), q["variant"]), _long(q["reason"])] for q in dataset.quarantined]
        note = "Variants that could not be simulated; they count neither as success nor as failure."
        page.section("Quarantined", table([("variant", ""), ("reason", "")], rows), note=note)


def _chosen(success: Sequence[bool], limit: int) -> list[int]:
    """The first episodes, up to `limit`, with half of the places for failures where there are so many."""
    good = [number for number, worked in enumerate(success) if worked]
    bad = [number for number, worked in enumerate(success) if not worked]
    places_for_bad = min(len(bad), max(limit // 2, limit - len(good)))
    return sorted(bad[:places_for_bad] + good[: limit - places_for_bad])


# ---- evaluation ----------------------------------------------------------------------------------------------


def _add_evaluation(page: Page, result: Mapping[str, Any]) -> None:
    figures = {name.replace("_", " "): figure for name, figure in result["figures"].items()}
    shown = {
        name: [_number(figure[key], figure) for key in ("value", "low", "high")] for name, figure in figures.items()
    }
    head = [
        (name, value, "" if MISSING in (low, high) else f"95 %: {low} to {high}")
        for name, (value, low, high) in list(shown.items())[:6]
    ]
    rows = [[name, *values] for name, values in shown.items()]
    columns = [("figure", ""), ("value", ""), ("low", "95 % interval"), ("high", "95 % interval")]
    page.section("Evaluation", tiles(head), table(columns, rows))

    why = result["failures_by_cause"]
    page.section("Failures by cause", f'<div class="card">{bars(why) if why else "<p>No failures.</p>"}</div>')

    told = sorted(result["by_knob"], key=lambda entry: -_telling(entry["bins"]))
    plots = "".join(_success_plot(entry["knob"], entry["bins"]) for entry in told[:MOST_KNOBS])
    if plots:
        note = (
            f"The {min(len(told), MOST_KNOBS)} of {len(told)} knobs in which success differs most. "
            "Whiskers are 95 % intervals, n the episodes of each range."
        )
        page.section("Success by knob", f'<div class="card"><div class="grid">{plots}</div></div>', note=note)

    rows, kinds, thing = [], [], result["thing"]
    for entry in result["episodes"]:
        seconds, done, things = entry["seconds"], entry["done"], entry["of"]
        rows.append(
            [
                Cell(str(entry["variant"]), entry["variant"]),
                Cell(badge(entry["success"]), int(entry["success"])),
                _long(", ".join(entry["reasons"])),
                Cell(f"{done} of {things}", done / max(things, 1)),
                Cell(f"{seconds:.1f}", seconds),
                Cell(f"{seconds / done:.1f}" if done else MISSING, seconds / done if done else ""),
            ]
        )
        kinds.append("good" if entry["success"] else "bad")
    columns = [("variant", ""), ("outcome", ""), ("reasons", ""), ("done", f"{thing}s"), ("time", "s")]
    page.section("Variants evaluated", table([*columns, (f"time per {thing}", "s")], rows, kinds=kinds))


def _success_plot(knob: str, bins: Sequence[Mapping[str, Any]]) -> str:
    columns = []
    for entry in bins:
        n, success = entry["n"], entry["success"]
        if not n:
            continue
        low, high = success_interval(round(n * success), n)
        says = f"{entry['low']:.4g} to {entry['high']:.4g}: {_percent(success)} of {n}"
        columns.append(Column(entry["low"], entry["high"], 100 * success, (100 * low, 100 * high), f"n {n}", says=says))
    differs = f"Differs {_telling(bins):.1f} times as much as chance alone would let it."
    return column_plot(f"{knob}", "success in %", columns, x_name=knob, y_range=(0, 100), caption=differs)


def _telling(bins: Sequence[Mapping[str, Any]]) -> float:
    """Chi square of success between the bins, over its degrees of freedom: about 1 where the knob does not matter."""
    filled = [(entry["n"], entry["success"]) for entry in bins if entry["n"]]
    if len(filled) < 2:
        return 0.0
    n, success = np.array(filled, dtype=np.float64).T
    mean = (n * success).sum() / n.sum()
    if not 0 < mean < 1:
        return 0.0
    return float((n * (success - mean) ** 2).sum() / (mean * (1 - mean)) / (len(n) - 1))


# ---- demo ----------------------------------------------------------------------------------------------------


def _planned_told(planned: Planned) -> str:
    order, pallets = planned.order, planned.plan.pallets
    return f"order {order.name}: {len(order.cartons)} cartons on {len(pallets)} pallet(s)"


def _order_table(order: Order) -> str:
    """The order's goods, each kind of carton once."""
    rows = []
    for carton, count in Counter(order.cartons).items():
        sides = [Cell(f"{side:.3f}", side) for side in carton.size]
        rows.append([carton.article, Cell(str(count), count), *sides, Cell(f"{carton.mass:.2f}", carton.mass)])
    sides = [("length", "m"), ("width", "m"), ("height", "m")]
    return table([("article", ""), ("cartons", ""), *sides, ("mass", "kg each")], rows)


def _sheet(png: bytes, captions: Sequence[str], columns: int) -> str:
    columns = min(columns, len(captions)) or 1
    rows = -(-len(captions) // columns) or 1
    numbers = "".join(
        f'<b style="left:{100 * (k % columns) / columns:.2f}%;top:{100 * (k // columns) / rows:.2f}%">{k + 1}</b>'
        for k in range(len(captions))
    )
    listed = "".join(f"<li>{escape(caption)}</li>" for caption in captions)
    told = picture(png, "contact sheet of the variants")
    return f'<div class="card"><div class="sheet">{told}{numbers}</div><ol class="captions">{listed}</ol></div>'


# ---- words ---------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{100 * share:.{int(0 < share < 1)}f}\N{NO-BREAK SPACE}%"


def _number(value: float | None, figure: Mapping[str, Any]) -> str:
    """A figure with its unit; shares as per cent."""
    if value is None or not math.isfinite(value):
        return MISSING
    if figure["unit"] != "1":
        return f"{value:.4g}\N{NO-BREAK SPACE}{figure['unit']}".rstrip()
    ends = [figure[key] for key in ("value", "low", "high")]
    share = all(end is not None and 0 <= end <= 1 for end in ends)
    return _percent(value) if share else f"{value:.4g}"


def _long(text: str) -> Cell:
    return Cell(escape(text), text, long=True)
