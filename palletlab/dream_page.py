"""The page and the videos of `palletlab dream`: truth, dream and their difference side by side, and drift over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palletlab.page import Page, table, tiles, video
from palletlab.plots import line_plot
from tasks.dataset.video import VideoSink

if TYPE_CHECKING:
    from policies.video.drift import Drift

PANEL, GAP = 192, 4  # [pixels] of a picture at least, and between two
DIM = 0.35  # of the truth once nothing more was recorded
LOUDER = 2  # times that differences are brighter than they are
SHOWN, DREAMED = (150, 150, 150), (40, 120, 220)  # bar above the frames that were shown, and those that are dreamed
NAMES = {"dream": "dream", "copy_last": "copy-last", "linear_motion": "linear motion", "rendered": "tokenizer"}


def film(drift: Drift) -> list[bytes]:
    """Return an MP4 (H.264) for each dream whose pictures were kept: truth, dream, difference; a row for each view."""
    count = len(next(iter(drift.dreamed.values()), np.zeros((0,))))
    return [_video(drift, number) for number in range(count)]


def _video(drift: Drift, number: int) -> bytes:
    views = [(drift.seen[n][number], drift.truth[n][number], drift.dreamed[n][number]) for n in drift.dreamed]
    scale = max(1, -(-PANEL // views[0][2].shape[1]))
    frames = drift.plan.shown + drift.plan.frames
    sink: VideoSink | None = None
    for at in range(frames):
        ahead = at - drift.plan.shown
        panels = [_panels(seen, truth, dreamed, ahead) for seen, truth, dreamed in views]
        gap = np.zeros((panels[0][0].shape[0] * scale, GAP, 3), np.uint8)
        rows = []
        for row in panels:
            big = [p.repeat(scale, 0).repeat(scale, 1) for p in row]
            rows += [np.concatenate([big[0], gap, big[1], gap, big[2]], 1)]
        wide = rows[0].shape[1]
        bar = np.full((2 * GAP, wide, 3), SHOWN if ahead < 0 else DREAMED, np.uint8)
        between = np.zeros((GAP, wide, 3), np.uint8)
        picture = np.concatenate([bar, *(part for row in rows for part in (row, between))], 0)
        picture = picture[: picture.shape[0] // 2 * 2, : wide // 2 * 2]
        sink = sink or VideoSink(picture.shape[0], picture.shape[1], round(drift.rate))
        sink.write(picture)
    assert sink is not None
    return sink.close()


def _panels(seen: np.ndarray, truth: np.ndarray, dreamed: np.ndarray, ahead: int) -> list[np.ndarray]:
    """Return truth, dream and difference (h, w, 3) at a frame, `ahead` of the start; below 0 all is recorded."""
    if ahead < 0:
        return [seen[ahead], seen[ahead], np.zeros_like(seen[ahead])]
    if ahead >= len(truth):
        return [(truth[-1] * DIM).astype(np.uint8), dreamed[ahead], np.zeros_like(truth[-1])]
    off = np.abs(truth[ahead].astype(int) - dreamed[ahead].astype(int))
    return [truth[ahead], dreamed[ahead], np.minimum(LOUDER * off, 255).astype(np.uint8)]


def dream_page(path: Path, name: str, drift: Drift, result: Mapping[str, Any], videos: Sequence[bytes]) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        name: of the checkpoint.
        drift: what became of the dreams.
        result: its figures, as in `result.json`.
        videos: of `film`.
    """
    told = {"told": "told the recorded actions", "self": "acting by itself", "idm": "an inverse dynamics model acts"}
    says = f"{result['dreams']} dreams of {result['seconds_each']:g} s from {result['episodes']} episodes"
    page = Page(f"Dreams of {name}", f"{says}, {told[str(result['acts'])]}")
    page.section("Figures", tiles(_tiles(result)))
    page.section("Drift", f'<div class="grid">{"".join(_plots(drift, result))}</div>', note=_note(result))
    if videos:
        shown = "".join(f"<div>{video(mp4, f'dream {k}')}</div>" for k, mp4 in enumerate(videos))
        note = "Truth, dream, difference (twice as bright); a grey bar while the recording is shown, blue in the dream."
        page.section(
            "Videos", f'<div class="grid">{shown}</div>', note=f"{note} The truth dims where it is not compared."
        )
    errors = result["probe_errors"]
    if errors:
        rows = [[key, f"{1000 * value:.1f} {_unit(key)}"] for key, value in errors.items()]
        note = "Root mean square error on recorded frames of episodes that the probe was not trained on."
        page.section("Probe", table([("position", ""), ("error", "")], rows), note=note)
    page.write(path)


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    last = f"{result['horizon'][-1]:g} s"
    figures = [
        ("least margin", f"{result['margin']['least']:.1f} dB", f"over the better simple guess, up to {last}"),
        ("least margin, rendered", f"{result['margin_rendered']['least']:.1f} dB", "of what the tokenizer can show"),
        (f"signal at {last}", f"{result['psnr']['dream'][-1]:.1f} dB", "against the camera's pictures"),
        ("speed", f"{result['frames_per_second']:.0f} /s", "frames of all dreams together"),
        ("motion", f"{100 * result['motion_share']:.0f} %", "of what moves in the truth"),
    ]
    if "not_collapsed" in result:
        figures.append(("not collapsed", f"{100 * result['not_collapsed']:.0f} %", "like the data in their last 10 s"))
    return figures


def _plots(drift: Drift, result: Mapping[str, Any]) -> list[str]:
    """The plots, over the seconds of the dream."""
    horizon = result["horizon"]
    keys = {"psnr": "Pictures", "psnr_changed": "Pixels that changed", "psnr_rendered": "Pictures, as rendered"}
    plots = [
        line_plot(f"{title}: signal to noise", "dB", horizon, {NAMES[n]: values for n, values in result[key].items()})
        for key, title in keys.items()
    ]
    for kind, (title, unit) in {"joints": ("Joints", "mrad"), "places": ("Places", "mm")}.items():
        if f"{kind}_error" in result:
            names = {
                "dream": "dream, off the record",
                "floor": "truth, off the record",
                "apart": "dream, off the truth",
            }
            lines = {names[n]: 1000 * np.array(v) for n, v in result[f"{kind}_error"].items()}
            plots.append(line_plot(f"{title}, read by the probe", unit, horizon, lines, y_range=(0, 0)))
    if "perceptual" in result:
        lines = {NAMES[name]: values for name, values in result["perceptual"].items() if name in NAMES}
        plots.append(line_plot("Perceptual distance", "1", result["perceptual"]["seconds"], lines, y_range=(0, 0)))
    if "like_the_data" in result:
        like = result["like_the_data"]
        share = {"share of dreams": like["share"]}
        plots.append(line_plot("Like the data", "1", like["seconds"], share, y_range=(0, 1)))
    seconds = (np.arange(drift.plan.frames) + 1) / drift.rate
    truth = drift.measures["motion/truth"][:, : drift.plan.compared].mean(0)
    truth = np.concatenate([truth, np.full(drift.plan.frames - len(truth), np.nan)])
    lines = {"dream": drift.measures["motion/dream"].mean(0), "truth": truth}
    plots.append(line_plot("Motion between frames", "1", seconds, lines, y_range=(0, 0)))
    return plots


def _note(result: Mapping[str, Any]) -> str:
    note = (
        "Simple guesses go on from the last pictures seen. What the probe reads off the truth says how well it reads."
    )
    if "not_collapsed" in result:
        real = 100 * result["held_out_like_the_data"]
        note += f" Of recorded frames that were not looked at, {real:.0f} % count as like the data."
    return note


def _unit(name: str) -> str:
    return "mm" if name.startswith(("carton", "part")) else "mrad"
