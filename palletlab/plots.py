"""Plots as inline SVG: lines over time with event marks, and columns with confidence intervals."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assets.errors import InputError

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 46
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
MOST_POINTS = 480  # about one per pixel
STRIP = 6  # height of the bands
COLORS = 6


@dataclass(frozen=True)
class Mark:
    """An event at time `x`: `color` is a CSS colour, `says` is shown when pointed at."""

    x: float
    color: str
    says: str


@dataclass(frozen=True)
class Band:
    """A stretch of time, e.g. a stage: drawn as a strip above the lines; `says` is shown when pointed at."""

    start: float
    end: float
    color: str
    says: str


@dataclass(frozen=True)
class Column:
    """A column from `low` to `high` on the x axis; `interval` is drawn as a whisker, `note` stands in its foot."""

    low: float
    high: float
    value: float
    interval: tuple[float, float] | None = None
    note: str = ""
    color: str = "var(--s0)"
    says: str = ""


def legend(entries: Sequence[tuple[str, str]], kind: str = "") -> str:
    """Names beside samples of their CSS colours: (name, colour) each."""
    shown = "".join(f'<span><i style="background:{color}"></i>{escape(name)}</span>' for name, color in entries)
    return f'<div class="legend {kind}">{shown}</div>'


def line_plot(
    title: str,
    unit: str,
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    *,
    marks: Sequence[Mark] = (),
    bands: Sequence[Band] = (),
    y_range: tuple[float, float] | None = None,
) -> str:
    """Lines over time: a figure with a legend, axes and units.

    Args:
        title: what is plotted, in `unit`.
        unit: of the values; "1" for ratios.
        x: times [s], shape [T].
        lines: values by name, shape [T] each; those that are not finite are left out.
        marks: events, drawn behind the lines.
        bands: stretches of time, drawn as a strip at the top.
        y_range: the least that the y axis shows; what goes beyond widens it.

    Raises:
        InputError: a line that is not as long as x, or no times.
    """
    times = np.asarray(x, dtype=np.float64)
    values = {name: np.asarray(line, dtype=np.float64) for name, line in lines.items()}
    for name, line in values.items():
        if not len(times) or line.shape != times.shape:
            raise InputError(f"plot {title!r}: line {name!r} has shape {line.shape}, the times have {times.shape}")
    finite = [line[np.isfinite(line)] for line in values.values()]
    seen = np.concatenate([*finite, np.asarray(y_range or (), dtype=np.float64)]) if finite or y_range else np.zeros(1)
    axes = _Axes((times[0], times[-1]), (seen.min(initial=np.inf), seen.max(initial=-np.inf)) if len(seen) else (0, 1))
    parts = [
        f'<line x1="{axes.x(mark.x):.1f}" x2="{axes.x(mark.x):.1f}" y1="{TOP}" y2="{TOP + INNER_HEIGHT}" '
        f'stroke="{mark.color}" stroke-opacity=".4"><title>{escape(mark.says)}</title></line>'
        for mark in marks
    ]
    parts += [
        f'<rect x="{axes.x(band.start):.1f}" width="{max(axes.x(band.end) - axes.x(band.start), 1):.1f}" '
        f'y="{(TOP - STRIP) / 2:g}" height="{STRIP}" fill="{band.color}">'
        f"<title>{escape(band.says)}</title></rect>"
        for band in bands
    ]
    entries = []
    for number, (name, line) in enumerate(values.items()):
        color = f"var(--s{number % COLORS})"
        entries.append((name, color))
        at, value = _thinned(times, line)
        points = " ".join(f"{axes.x(a):.1f},{axes.y(v):.1f}" for a, v in zip(at, value, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.4"/>')
    data = f'data-left="{LEFT}" data-wide="{INNER_WIDTH}" data-from="{axes.low[0]:g}" data-to="{axes.high[0]:g}"'
    cursor = f'<line class="cursor" y1="{TOP}" y2="{TOP + INNER_HEIGHT}"/>'
    svg = _svg(f"{title} over time", axes.drawn("time [s]") + "".join(parts) + cursor, f'class="plot timed" {data}')
    return _figure(title, unit, legend(entries), svg)


def column_plot(
    title: str,
    unit: str,
    columns: Sequence[Column],
    *,
    x_name: str,
    y_range: tuple[float, float] | None = None,
    caption: str = "",
    whole: bool = False,
) -> str:
    """Columns over ranges of a number: a figure with axes and units.

    Args:
        title: what is plotted, in `unit`.
        unit: of the values; "1" for ratios.
        columns: from left to right.
        x_name: the number on the x axis, and its unit.
        y_range: the least that the y axis shows, besides 0; what goes beyond widens it.
        caption: a line of text below the title.
        whole: whether only whole numbers are written on the x axis.
    """
    ends = [0.0, *(y_range or ())]
    for column in columns:
        ends += [column.value, *(column.interval or ())]
    ends = [end for end in ends if math.isfinite(end)]
    low, high = min((c.low for c in columns), default=0.0), max((c.high for c in columns), default=1.0)
    narrowest = (high - low) / 40 or 1.0  # a column for a single value still shows
    axes = _Axes((low - narrowest / 2, high + narrowest / 2), (min(ends), max(ends)), whole=whole)
    base, parts = axes.y(0.0), []
    for column in columns:
        half = max(column.high - column.low, narrowest) / 2
        middle = (column.low + column.high) / 2
        x1, x2, center = axes.x(middle - half) + 1, axes.x(middle + half) - 1, axes.x(middle)
        says = f"<title>{escape(column.says)}</title>" if column.says else ""
        if math.isfinite(column.value):
            y = axes.y(column.value)
            parts.append(
                f'<rect x="{x1:.1f}" width="{max(x2 - x1, 1):.1f}" y="{min(y, base):.1f}" height="{abs(base - y):.1f}" '
                f'fill="{column.color}" fill-opacity=".6">{says}</rect>'
            )
        if column.interval and all(map(math.isfinite, column.interval)):
            down, up = (axes.y(end) for end in column.interval)
            parts.append(
                f'<path d="M{center:.1f} {down:.1f}V{up:.1f}m-4 0h8M{center - 4:.1f} {down:.1f}h8" '
                'stroke="var(--ink)" stroke-width="1.2" fill="none"/>'
            )
        if column.note and x2 - x1 > 8 * len(column.note):
            place = f'x="{center:.1f}" y="{base - 6:.1f}" text-anchor="middle"'
            parts.append(f'<text class="note" {place}>{escape(column.note)}</text>')
    under = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return _figure(title, unit, under, _svg(title, axes.drawn(x_name) + "".join(parts), 'class="plot"'))


class _Axes:
    """Where numbers stand in the plot."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], *, whole: bool = False) -> None:
        """Span the plot over the ranges x and y; y is widened to whole ticks."""
        (x_low, x_high), (y_low, y_high) = _spread(x), _spread(y)
        step = _step(y_high - y_low, 5)
        self._steps = (max(_step(x_high - x_low, 7), float(whole)), step)
        # A thousandth of slack: 0.3 / 0.1 is not quite 3.
        self.low = (x_low, math.floor(y_low / step + 1e-3) * step)
        self.high = (x_high, math.ceil(y_high / step - 1e-3) * step)

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + INNER_WIDTH * (value - self.low[0]) / (self.high[0] - self.low[0])

    def y(self, value: float) -> float:
        """Pixels from the top."""
        return TOP + INNER_HEIGHT * (self.high[1] - value) / (self.high[1] - self.low[1])

    def drawn(self, x_name: str) -> str:
        """Grid, ticks and the x axis's name."""
        parts = []
        for value in _ticks(self.low[1], self.high[1], self._steps[1]):
            y = self.y(value)
            strong = "var(--soft)" if value == 0 else "var(--line)"
            parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{strong}"/>')
            parts.append(f'<text class="soft" x="{LEFT - 7}" y="{y + 4.5:.1f}" text-anchor="end">{value:g}</text>')
        foot = TOP + INNER_HEIGHT
        for value in _ticks(self.low[0], self.high[0], self._steps[0]):
            x = self.x(value)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot + 4}" stroke="var(--soft)"/>')
            parts.append(f'<text class="soft" x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{value:g}</text>')
        name = f'<text class="soft" x="{LEFT + INNER_WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
        return "".join(parts) + f"{name}{escape(x_name)}</text>"


def _spread(ends: tuple[float, float]) -> tuple[float, float]:
    """A range that is wider than a point."""
    low, high = float(ends[0]), float(ends[1])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _step(span: float, ticks: int) -> float:
    """The round distance, 1, 2 or 5 times a power of ten, that gives at most about so many ticks."""
    rough = span / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)


def _ticks(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [float(f"{k * step:.9g}") for k in range(first, last + 1)]


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The finite points; where there are too many, the least and the greatest of each short stretch, so peaks stay."""
    keep = np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(y) <= MOST_POINTS:
        return x, y
    edges = np.linspace(0, len(y), MOST_POINTS // 2 + 1).astype(int)
    chosen = {0, len(y) - 1}
    for start, stop in itertools.pairwise(edges.tolist()):
        chosen |= {start + int(np.argmin(y[start:stop])), start + int(np.argmax(y[start:stop]))}
    index = np.array(sorted(chosen))
    return x[index], y[index]


def _svg(says: str, content: str, attributes: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}" {attributes}>{content}</svg>'


def _figure(title: str, unit: str, above: str, svg: str) -> str:
    shown = f" [{escape(unit)}]" if unit and unit != "1" else ""
    return f'<figure><h3>{escape(title)}<span class="soft">{shown}</span></h3>{above}{svg}</figure>'
