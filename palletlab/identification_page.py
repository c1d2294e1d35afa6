"""The page of an identification: the robot's curves beside the model's, before and after, and what was found."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from assets.arms import JOINTS
from palletlab.page import Page, table, tiles
from palletlab.plots import line_plot
from sim2real.identify.calibration import IDENTIFIED, CalibrationFile
from sim2real.identify.joints import Curve, Result

THIN = 5  # of the recording's rows one in so many is drawn


def identification_page(out: Path, calibration: CalibrationFile, result: Result | None, contact: Any = None) -> None:
    """Write the page.

    Args:
        out: the HTML file.
        calibration: what was found.
        result: of the arm's stages, if they ran.
        contact: result of the stage contact, if it ran.
    """
    page = Page(f"Identification: {calibration.robot}", calibration.source)
    words = "".join(f"<p>{escape(stage)}: {escape(says)}</p>" for stage, says in calibration.verdict.items())
    page.section("Verdict", f'<div class="card">{words}</div>', *([tiles(_head(result))] if result else ()))
    if result:
        for held_out in (True, False):
            curves = [curve for curve in result.curves if curve.held_out == held_out]
            name = "The held-out motion" if held_out else "The motions that were fitted"
            note = "Differences between the model and the robot, before (nominal knobs) and after (identified ones)."
            page.section(name, *(_curve(curve) for curve in curves), note=note)
    page.section("Parameters", _parameters(calibration), note="Intervals hold the true value nine times in ten.")
    if contact is not None:
        page.section("Contact", _contact(contact))
    if result and result.next:
        page.section("What to measure next", "".join(f"<p>{escape(line)}</p>" for line in result.next))
    page.section("Evidence", _logs(calibration))
    page.write(out)


def _head(result: Result) -> list[tuple[str, str, str]]:
    e = {name: 1e3 * value for name, value in result.errors.items()}
    ratio = e["held-out before"] / max(e["held-out after"], 1e-9)
    return [
        ("held-out error", f"{e['held-out after']:.3f} mrad", f"{e['held-out before']:.2f} before: {ratio:.0f} x less"),
        ("fitted error", f"{e['fit after']:.3f} mrad", f"{e['fit before']:.2f} before"),
        (
            "not told by the data",
            str(len(result.unidentified)),
            f"of {len(result.findings)} parameters, at their prior",
        ),
        ("computing", f"{result.seconds:.0f} s", f"{result.steps:,} physics steps"),
    ]


def _curve(curve: Curve) -> str:
    """Show one motion: every joint's way and how far the model is off."""
    time, parts = curve.time[::THIN], []
    for j, name in enumerate(JOINTS):
        way = {"robot": curve.measured[::THIN, j], "model before": curve.before[::THIN, j],
               "model after": curve.after[::THIN, j]}  # fmt: skip
        off = {"before": 1e3 * (curve.before - curve.measured)[::THIN, j],
               "after": 1e3 * (curve.after - curve.measured)[::THIN, j]}  # fmt: skip
        title = name.replace("_", " ")
        parts.append(line_plot(f"{title}", "rad", time, way) + line_plot(f"{title}: off by", "mrad", time, off))
    return f'<h3>{escape(curve.name)}</h3><div class="grid">{"".join(parts)}</div>'


def elements(calibration: CalibrationFile) -> list[tuple[str, float, float, float, str, str]]:
    """Return label, value, ends of its interval, stage and remark of every element of every knob."""
    out = []
    for name, value in calibration.knobs.items():
        e, flat = calibration.evidence[name], np.asarray(value, np.float64).reshape(-1)
        for k, (v, low, high, status) in enumerate(zip(flat, e.low, e.high, e.status, strict=True)):
            label = name if len(flat) == 1 else f"{name}[{k}]"
            out.append((label, float(v), low, high, e.stage, status if status != IDENTIFIED else ""))
    return out


def _parameters(calibration: CalibrationFile) -> str:
    rows = [
        [label, f"{v:.4g}", f"{low:.4g} … {high:.4g}", stage, remark]
        for label, v, low, high, stage, remark in elements(calibration)
    ]
    return table([("knob", ""), ("found", ""), ("90 %", "interval"), ("stage", ""), ("", "")], rows)


def _contact(contact: Any) -> str:
    rows = []
    for label, estimate in contact.estimates.items():
        low, high = estimate.interval
        each = ", ".join(f"{v:.3g}" for v in estimate.experiments)
        rows.append([label, f"{estimate.value:.4g}", f"{low:.4g} … {high:.4g}", each])
    return table([("knob", ""), ("found", ""), ("90 %", "interval"), ("each experiment", "")], rows)


def _logs(calibration: CalibrationFile) -> str:
    rows = [[path, digest] for path, digest in calibration.logs.items()]
    return table([("log", ""), ("sha256", "")], rows) if rows else "<p>No logs.</p>"
