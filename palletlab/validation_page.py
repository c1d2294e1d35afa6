"""The page of a validation: the verdict in plain words, success on the robot beside the predicted, and every trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from palletlab.page import Cell, Page, badge, bars, table, tiles
from palletlab.plots import COLORS, Column, _Axes, _figure, _svg, column_plot, legend

MISSING = "-"
Figure = Mapping[str, Any]


def validation_page(result: Mapping[str, Any], out: Path) -> None:
    """Write the page of a validation.

    Args:
        result: as `sim2real.validate.conclusion.conclude` returns it.
        out: the HTML file; an older one is replaced.
    """
    page = Page("Validation", f"the same trials in simulation and on: {result['robot']}")
    first, *more = result["verdict"]
    told = f"<h3>{escape(first)}</h3>" + "".join(f"<p>{escape(sentence)}</p>" for sentence in more)
    page.section("Verdict", f'<div class="card">{told}</div>', tiles(_head(result)))
    policies = [policy for policy in result["policies"] if policy["trials"]]
    if policies:
        _add_success(page, result, policies)
        _add_course(page, result, policies)
        _add_causes(page, policies)
        _add_trials(page, result)
    page.write(out)


def _head(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    interrupted = f"{result['interrupted']} begun and interrupted" if result["interrupted"] else ""
    head = [("trials", str(result["trials"]), f"of {result['planned']} planned; {interrupted}".rstrip("; "))]
    for name, key, what in (("Pearson's r", "correlation", ""), ("MMRV", "rank_violation", "0: ranked alike")):
        figure = result[key]
        if figure is not None and figure["value"] is not None:
            low, high = figure["low"], figure["high"]
            interval = "" if low is None else f"95 %: {low:.2f} to {high:.2f}"
            head.append((name, f"{figure['value']:.2f}", "; ".join(filter(None, (interval, what)))))
    head.append(("margin", f"{100 * result['margin']:.0f} points", f"error rate {100 * result['error']:.0f} %"))
    return head


# ---- success ---------------------------------------------------------------------------------------------------------


def _add_success(page: Page, result: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for policy in policies:
        apart = policy["apart"]
        rows.append(
            [
                policy["name"],
                _share(policy["real"]),
                _share(policy["predicted"]),
                _cell(policy["difference"], 100, "+.0f"),
                f"{policy['decision']} after {policy['decided']}",
                _cell(apart["path"], 1000, ".1f"),
                _cell(apart["time"], 1, "+.1f"),
                _cell(apart["cartons"], 1000, ".1f"),
                _cell(apart["yaw"], 180 / math.pi, ".2f"),
                _cell(policy["seconds"]["real"], 1, ".1f"),
                _cell(policy["seconds"]["predicted"], 1, ".1f"),
            ]
        )
    columns = [
        ("policy", ""), ("on the robot", "95 % interval"), ("predicted", "95 % interval"), ("difference", "points"),
        ("within the margin?", "trials"), ("tool's way", "mm RMS apart"), ("carrying", "s longer"),
        ("cartons", "mm apart"), ("turned", "deg apart"), ("time", "s, robot"), ("time", "s, predicted"),
    ]  # fmt: skip
    note = (
        "Intervals of success are Clopper-Pearson's. Ways are compared carton by carton, from attaching to letting go; "
        "places where both put the carton where it belongs."
    )
    plots = _scatter(policies, result["margin"]) + _columns(policies)
    page.section("Success", f'<div class="card"><div class="grid">{plots}</div></div>', table(columns, rows), note=note)


def _columns(policies: Sequence[Mapping[str, Any]]) -> str:
    columns = []
    for k, policy in enumerate(policies):
        for side, at, color in (("real", k + 0.6, "var(--s0)"), ("predicted", k + 1.0, "var(--s1)")):
            figure = policy[side]
            if figure["value"] is None:
                continue
            interval = (100 * figure["low"], 100 * figure["high"])
            says = f"{policy['name']}, {'on the robot' if side == 'real' else 'predicted'}: {_share(figure).title}"
            columns.append(Column(at, at + 0.4, 100 * figure["value"], interval, "", color, says))
    named = "; ".join(f"{k + 1} {policy['name']}" for k, policy in enumerate(policies))
    caption = f"Blue on the robot, orange predicted. {named}"
    title = "Success of each policy"
    return column_plot(title, "%", columns, x_name="policy", y_range=(0, 100), caption=caption, whole=True)


def _scatter(policies: Sequence[Mapping[str, Any]], margin: float) -> str:
    """Real over predicted success, with the diagonal and the margin around it."""
    plane = _Axes((0.0, 100.0), (0.0, 100.0))
    m = 100 * margin
    band = [(0, m), (100 - m, 100), (100, 100), (100, 100 - m), (m, 0), (0, 0)]
    points = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in band)
    parts = [
        f'<polygon points="{points}" fill="var(--soft)" fill-opacity=".12"/>',
        f'<line x1="{plane.x(0):.1f}" y1="{plane.y(0):.1f}" x2="{plane.x(100):.1f}" y2="{plane.y(100):.1f}" '
        'stroke="var(--soft)" stroke-dasharray="4 4"/>',
    ]
    entries = []
    for k, policy in enumerate(policies):
        real, predicted, color = policy["real"], policy["predicted"], f"var(--s{k % COLORS})"
        if predicted["value"] is None:
            continue
        x, y = plane.x(100 * predicted["value"]), plane.y(100 * real["value"])
        down, up = plane.y(100 * real["low"]), plane.y(100 * real["high"])
        left, right = plane.x(100 * predicted["low"]), plane.x(100 * predicted["high"])
        says = f"{policy['name']}: {_share(real).title} on the robot, {_share(predicted).title} predicted"
        parts.append(
            f'<path d="M{x:.1f} {down:.1f}V{up:.1f}M{left:.1f} {y:.1f}H{right:.1f}" stroke="{color}" '
            'stroke-opacity=".6" fill="none"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color}"><title>{escape(says)}</title></circle>'
        )
        entries.append((policy["name"], color))
    caption = f"On the dashed line the prediction is right; in the grey band to within {m:.0f} points."
    return _drawn("Success on the robot over predicted", "%", plane.drawn("predicted [%]"), parts, entries, caption)


def _add_course(page: Page, result: Mapping[str, Any], policies: Sequence[Mapping[str, Any]]) -> None:
    """Show how the difference went, trial by trial."""
    longest = max(len(policy["running"]) for policy in policies)
    if not longest:
        return
    m = 100 * result["margin"]
    plane = _Axes((1.0, max(float(longest), 2.0)), (-100.0, 100.0), whole=True)
    parts = [
        f'<rect x="{plane.x(1):.1f}" width="{plane.x(max(longest, 2)) - plane.x(1):.1f}" y="{plane.y(m):.1f}" '
        f'height="{plane.y(-m) - plane.y(m):.1f}" fill="var(--soft)" fill-opacity=".12"/>'
    ]
    entries = []
    for k, policy in enumerate(policies):
        color = f"var(--s{k % COLORS})"
        line = " ".join(f"{plane.x(i):.1f},{plane.y(100 * v):.1f}" for i, v in enumerate(policy["running"], 1))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="1.4"/>')
        if policy["decision"] != "open":
            at = policy["decided"]
            x, y = plane.x(at), plane.y(100 * policy["running"][at - 1])
            says = f"{policy['name']}: {policy['decision']} after {at} trials"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{color}"><title>{escape(says)}</title></circle>'
            )
        entries.append((policy["name"], color))
    caption = (
        f"The grey band is the margin of {m:.0f} points. A dot: here the test decided; it may be looked at after every "
        f"trial and is wrong in at most {100 * result['error']:.0f} % of sessions, for each policy."
    )
    title = "Mean difference in success, robot minus predicted"
    shown = _drawn(title, "points", plane.drawn("trial"), parts, entries, caption)
    page.section("Course", f'<div class="card"><div class="grid">{shown}<div></div></div></div>')


def _drawn(
    title: str, unit: str, axes: str, parts: Sequence[str], entries: Sequence[tuple[str, str]], caption: str
) -> str:
    above = f"<figcaption>{escape(caption)}</figcaption>{legend(entries)}"
    return _figure(title, unit, above, _svg(title, axes + "".join(parts), 'class="plot"'))


# ---- what went wrong -------------------------------------------------------------------------------------------------


def _add_causes(page: Page, policies: Sequence[Mapping[str, Any]]) -> None:
    cards = ""
    for policy in policies:
        both = [policy["causes"][side] for side in ("real", "predicted")]
        if any(both):
            shown = "".join(
                f"<h3>{escape(policy['name'])}, {side}</h3>{bars(causes) if causes else '<p>No failures.</p>'}"
                for side, causes in zip(("on the robot", "predicted"), both, strict=True)
            )
            cards += f'<div class="card"><div class="grid">{shown}</div></div>'
    note = "In how many trials each cause is named. A trial may fail for several."
    page.section("Failures by cause", cards or '<div class="card"><p>No failures.</p></div>', note=note)


def _add_trials(page: Page, result: Mapping[str, Any]) -> None:
    rows, kinds = [], []
    for o in result["outcomes"]:
        predicted = o["predicted"]
        agrees = predicted is not None and (predicted >= 0.5) == o["success"]
        path = o["apart"]["path"] if o["apart"] else None
        rows.append(
            [
                Cell(str(o["trial"] + 1), o["trial"]),
                o["code"],
                o["policy"],
                Cell(str(o["variant"]), o["variant"]),
                Cell(badge(o["success"]), int(o["success"])),
                Cell(MISSING if predicted is None else f"{100 * predicted:.0f}", predicted),
                _long(", ".join(o["reasons"])),
                _long(", ".join(o["predicted_reasons"])),
                Cell(f"{o['seconds']:.1f}", o["seconds"]),
                _cell(path, 1000, ".1f"),
            ]
        )
        kinds.append("" if agrees else "odd")
    columns = [
        ("trial", ""), ("code", ""), ("policy", ""), ("variant", ""), ("on the robot", ""), ("predicted", "%"),
        ("reasons", "on the robot"), ("reasons", "predicted"), ("time", "s, robot"), ("tool's way", "mm RMS apart"),
    ]  # fmt: skip
    note = "In the order in which they were run. Coloured: prediction and robot do not agree."
    page.section("Trials", table(columns, rows, kinds=kinds), note=note)


# ---- words -----------------------------------------------------------------------------------------------------------


def _share(figure: Figure) -> Cell:
    if figure["value"] is None:
        return Cell(MISSING, "")
    said = f"{100 * figure['value']:.0f} %"
    interval = f"{said} ({100 * figure['low']:.0f} to {100 * figure['high']:.0f})"
    return Cell(interval, figure["value"], said)


def _cell(value: float | None, scale: float, form: str) -> Cell:
    return Cell(MISSING, "") if value is None else Cell(format(scale * value, form), value)


def _long(text: str) -> Cell:
    return Cell(escape(text), text, long=True)
