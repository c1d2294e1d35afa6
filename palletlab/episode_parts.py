"""What a page shows of recorded episodes: videos, plots over time with events and stages, goods; and the knobs of all.

Reads what `tasks.rollout` keeps with an episode: its row, events and verdict. Cartons are counted from 0, as in these.
"""

import itertools
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from palletlab.media import browser_mp4
from palletlab.page import Cell, badge, table, video
from palletlab.plots import COLORS, Band, Column, Mark, column_plot, legend, line_plot
from sim.knobs import Knob
from tasks.dataset import lerobot_format as lerobot
from tasks.dataset.reader import Dataset
from tasks.task import TaskFamily

EVENT_COLORS = {
    "arrived": "var(--soft)",
    "attached": "var(--s2)",
    "released": "var(--s0)",
    "lost": "var(--bad)",
}
OTHER_EVENT = "var(--s3)"
VIDEO_BYTES_PER_SECOND = 10_000  # of simulated time; datasets keep far more, for training
MOST_ROWS = 500  # of the table of knobs: a page is to be looked at, Parquet is there for more
Events = Sequence[Mapping[str, Any]]


def episode_part(dataset: Dataset, number: int, task: TaskFamily, *, video_bytes: int) -> str:
    """An episode as HTML: outcome, videos side by side, plots, goods; each video of about `video_bytes` at most."""
    columns, told = dataset.episode(number), dataset.metadata(number)
    events: Events = told.get("events", [])
    times, seconds = columns["timestamp"], dataset.lengths[number] / dataset.features.fps
    state = columns[lerobot.STATE]
    places = {name: place for place, name in enumerate(dataset.features.state_names)}
    marks = [
        Mark(event["time"], event_color(event["event"]), f"{event['time']:.1f} s: {_event_told(event)}")
        for event in events
    ]

    bands = _bands(dataset.tasks, columns[lerobot.TASK], times)

    def lines(start: str, end: str = "") -> dict[str, Any]:
        chosen = [name for name in places if name.startswith(start) and name.endswith(end)]
        return {name.removeprefix(start).removesuffix(end): state[:, places[name]] for name in chosen}

    drawn = [
        ("Joint position", "rad", lines("joint", ".position"), None),
        ("Joint torque", "N m", lines("joint", ".torque"), None),
        ("Suction", "1", lines("suction."), (0.0, 1.0)),
        ("Tool force", "N", lines("tool.force_"), None),
    ]
    plots = [
        line_plot(title, unit, times, values, marks=marks, bands=bands, y_range=y_range)
        for title, unit, values, y_range in drawn
        if values
    ]
    files = lerobot.episode_files(dataset.root, number, dataset.features.cameras)
    limit = min(video_bytes, round(VIDEO_BYTES_PER_SECOND * seconds))
    videos = [video(browser_mp4(path, limit), f"camera {name}") for name, path in files.videos.items()]
    kinds = list(dict.fromkeys(event["event"].split(":")[0] for event in events))
    reasons = "; ".join(reasons_of(told))
    instruction = "" if bands else told["tasks"][0]  # several stand in the legend
    head = (
        f"<h3>Episode {number} {badge(told['success'])}</h3>"
        f'<p class="soft">variant {told["variant"]}, {seconds:.1f} s{_stability(told)}. {escape(instruction)}</p>'
        + (f"<p>{escape(reasons)}</p>" if reasons else "")
    )
    marks_told = legend([(kind, event_color(kind)) for kind in kinds], "marks") if kinds else ""
    marks_told += legend(list(dict.fromkeys((band.says, band.color) for band in bands))) if bands else ""
    return (
        f'<article class="card" id="episode-{number}" data-together>{head}<div class="videos">{"".join(videos)}</div>'
        f'{marks_told}<div class="grid">{"".join(plots)}{_things(events, told, task.thing)}</div></article>'
    )


def _bands(tasks: list[str], numbers: Any, times: Any) -> list[Band]:
    """Where an episode has several tasks, one after another: from when to when each was to be done."""
    edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
    if len(edges) == 2:
        return []
    return [
        Band(times[a], times[min(b, len(times) - 1)], f"var(--s{numbers[a] % COLORS})", tasks[numbers[a]])
        for a, b in itertools.pairwise(edges)
    ]


def event_color(event: str) -> str:
    """The colour in which an event is marked."""
    return EVENT_COLORS.get(event.split(":")[0], OTHER_EVENT)


def reasons_of(metadata: Mapping[str, Any]) -> list[str]:
    """Why an episode failed, one line each."""
    return metadata.get("verdict", {}).get("reasons", [])


def cycle_times(events: Events, thing: str) -> dict[int, float]:
    """For each thing ("carton") let go: seconds since the one before was let go or lost, or since the start."""
    cycles, before = {}, 0.0
    for event in events:
        kind = event["event"].split(":")[0]
        if kind == "released" and thing in event:
            cycles[event[thing]] = event["time"] - before
        if kind in ("released", "lost") and thing in event:
            before = event["time"]
    return cycles


def _event_told(event: Mapping[str, Any]) -> str:
    """What happened, and to what: all that an event holds besides its time."""
    about = " ".join(f"{key} {value}" for key, value in event.items() if key not in ("time", "event"))
    return f"{about} {event['event']}".strip()


def _stability(metadata: Mapping[str, Any]) -> str:
    """How much the load moved when it was tilted and braked, where it was."""
    verdict = metadata.get("verdict", {})
    names = {"tilt_creep": "when tilted", "pulse_elastic": "at 0.5 g", "pulse_permanent": "after 0.5 g"}
    moved = [f"{1000 * verdict[key]:.1f} mm {name}" for key, name in names.items() if verdict.get(key) is not None]
    return f", load moved {', '.join(moved)}" if moved else ""


def _things(events: Events, metadata: Mapping[str, Any], thing: str) -> str:
    """Cycle times as a plot; each thing's times and errors as a table, without columns of which nothing is known."""
    cycles = cycle_times(events, thing)
    errors = metadata.get("verdict", {}).get("position_error", [])
    first: dict[int, dict[str, float]] = {}
    fate: dict[int, str] = {}
    for event in events:
        if thing in event:
            first.setdefault(event[thing], {}).setdefault(event["event"].split(":")[0], event["time"])
            fate[event[thing]] = event["event"]
    if not first:
        return ""
    columns = [
        Column(number - 0.4, number + 0.4, cycle, says=f"{thing} {number}: {cycle:.1f} s")
        for number, cycle in cycles.items()
    ]
    head = [("arrived", "s"), ("attached", "s"), ("released", "s"), ("carried", "s"), ("cycle", "s"), ("off by", "mm")]
    figures = []
    for number, times in sorted(first.items()):
        took, let_go = times.get("attached"), times.get("released")
        carried = None if took is None or let_go is None else let_go - took
        off = 1000 * errors[number] if let_go is not None and number < len(errors) else None
        figures.append((times.get("arrived"), took, let_go, carried, cycles.get(number), off))
    known = [k for k in range(len(head)) if any(row[k] is not None for row in figures)]
    rows = []
    for number, row in zip(sorted(first), figures, strict=True):
        cells = [Cell("-", "") if row[k] is None else Cell(f"{row[k]:.1f}", row[k]) for k in known]
        rows.append([Cell(str(number), number), *cells, fate[number]])
    kinds = ["bad" if fate[number].startswith("lost") else "" for number in sorted(first)]
    plot = column_plot("Cycle time", "s", columns, x_name=f"{thing}, by its number", whole=True)
    heading = f'<h3>{thing.capitalize()}s <span class="soft">{len(cycles)} let go</span></h3>'
    told = table([(thing, ""), *(head[k] for k in known), ("at last", "")], rows, kinds=kinds, low=True)
    return f"{plot}<div>{heading}{told}</div>"


# ---- knobs ---------------------------------------------------------------------------------------------------


def knob_table(
    described: Sequence[Mapping[str, Any]],
    quarantined: Sequence[Mapping[str, Any]],
    shown: Sequence[int],
    task: TaskFamily,
) -> tuple[str, str]:
    """The table of knobs as HTML, and what is to be said about it.

    Args:
        described: metadata of all episodes.
        quarantined: entries of the variants without an episode.
        shown: the episodes that the page shows; the table links to them.
        task: whose knobs they are.
    """
    knobs = dict(task.knobs(1))
    entries = [*described, *quarantined]
    listed = entries[:MOST_ROWS]
    values = [
        {
            name: _used(value, knobs.get(name), entry["row"].get(task.count))
            for name, value in entry.get("row", {}).items()
        }
        for entry in listed
    ]
    names = list(dict.fromkeys(name for row in values for name in row))
    differs = {name for name in names if any(row.get(name) != values[0].get(name) for row in values)}
    if len(listed) == 1:
        differs = set(names)
    columns = [name for name in names if name in differs]

    rows, kinds = [], []
    for entry, row in zip(listed, values, strict=True):
        number = entry.get("episode")
        text = "-" if number is None else str(number)
        link = f'<a href="#episode-{number}">{number}</a>' if number in shown else text
        outcome = "quarantined" if number is None else ("success" if entry["success"] else "failure")
        told = [Cell(link, "" if number is None else number), Cell(str(entry["variant"]), entry["variant"]), outcome]
        rows.append([*told, *(_knob_cell(row.get(name)) for name in columns)])
        kinds.append({"success": "good", "failure": "bad"}.get(outcome, "odd"))
    head = [("episode", ""), ("variant", ""), ("outcome", ""), *((name, _unit(knobs.get(name))) for name in columns)]
    parts = table(head, rows, kinds=kinds, wide=True)
    same = [name for name in names if name not in differs]
    if same:
        fixed = [[name, _knob_cell(values[0][name]), _unit(knobs.get(name))] for name in same]
        parts += (
            f"<details><summary>{len(same)} knobs have the same value in every row</summary>"
            f"{table([('knob', ''), ('value', ''), ('unit', '')], fixed)}</details>"
        )
    note = "A row per variant. A click on a heading sorts; pointing at a cell shows all its numbers."
    if len(entries) > len(listed):
        note += f" The first {len(listed)} of {len(entries)} are listed."
    return parts, note


def _used(value: Any, knob: Knob | None, count: float | None) -> Any:
    """The part of a value that acts: slots beyond the variant's goods are spare."""
    per_slot = knob is not None and knob.shape[:1] == ("slot",) and isinstance(value, list)
    return value[: int(count)] if per_slot and count is not None else value


def _unit(knob: Knob | None) -> str:
    return "" if knob is None or knob.unit in ("1", "index") else knob.unit


def _knob_cell(value: Any) -> Cell:
    """A scalar as it is; of a vector its ends, or its numbers where they are few; of triples the ends of each part."""
    if value is None:
        return Cell("", "")
    numbers = np.asarray(value, dtype=np.float64)
    order = float(numbers.mean()) if numbers.size else ""
    if numbers.ndim == 0:
        return Cell(f"{numbers:.4g}", order)
    title = np.array2string(numbers, precision=4, separator=", ", suppress_small=True, threshold=200)
    if numbers.ndim == 1 and numbers.size > 3:
        told = _ends(numbers)
    elif numbers.ndim == 2 and numbers.shape[1] <= 3 and numbers.size:
        told = " | ".join(_ends(numbers[:, part]) for part in range(numbers.shape[1]))
    else:
        told = ", ".join(f"{number:.4g}" for number in numbers.ravel()[:3]) + (", ..." if numbers.size > 3 else "")
    return Cell(told, order, title)


def _ends(numbers: Any) -> str:
    low, high = (f"{end:.3g}" if abs(end) < 1000 else f"{end:.0f}" for end in (numbers.min(), numbers.max()))
    return low if low == high else f"{low}\N{HORIZONTAL ELLIPSIS}{high}"
