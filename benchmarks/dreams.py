"""Dreams of held-out variants: against simple guesses at every horizon, for two minutes, hundreds at once.

    python -m benchmarks.dreams --checkpoint FOLDER --data DATASET

Dreams begin in the episodes that training kept for tests. For 2.4 s they are compared with what was recorded, by how
far their signal-to-noise ratio lies above that of the better of two guesses, that nothing moves and that everything
goes on as it did. "camera": against the camera's pictures, which no dream can match better than the tokenizer renders
them; "rendered": against what it makes of them, where the guesses go on from what it makes of what was seen.

A dream counts as collapsed if most frames of its last ten seconds are unlike all recorded ones
(`policies.video.manifold`). Intervals are 95 %, of a bootstrap over episodes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.little import little_data, little_dva
from policies.data.videos import open_source
from policies.video.dreaming import dream_all, judges_of
from policies.video.drift import Drift, Plan, margins, mean, root, signal, standing
from policies.video.footage import Footage, footage_of
from policies.video.network import VideoNetwork, load_video

AHEAD, LONG, SHOWN = 2.4, 120.0, 1.6  # [s] compared, of a long dream, shown before
MARGIN, STANDING = 3.0, 0.95  # dB over the guesses; share of the long dreams that must not collapse
WAYS = {"told": "told the actions", "self": "acting by itself"}


def least(drift: Drift, name: str, space: str) -> Figure:
    """Return the least margin over all horizons, with the interval there."""
    over, low, high = margins(drift, space)
    at = int(over.argmin())
    says = f"copy-last, linear motion; least at {(at + 1) / drift.rate:g} s"
    value, bounds = float(over[at]), (float(low[at]), float(high[at]))
    return Figure(f"{name}: over guesses, {space}", value, "dB", MARGIN, says, False, *bounds)


def short(footage: Footage, plan: Plan, steps: int) -> tuple[list[Figure], dict[str, object]]:
    """Compare dreams with what was recorded."""
    figures, details = [], {}
    judges = judges_of(footage, steps)
    for acts, name in WAYS.items():
        drift = dream_all(footage, Plan(**{**vars(plan), "acts": acts}), judges)
        figures += [least(drift, name, space) for space in ("camera", "rendered")]
        ours, rendered = (float(signal(drift, n)[-1]) for n in ("dream", "rendered"))
        figures.append(
            Figure(f"{name}: signal at the end", ours, "dB", None, f"tokenizer's rendering {rendered:.1f} dB")
        )
        for kind, unit in {"joints": "mrad", "places": "mm"}.items():
            off, floor = root(drift, f"{kind}/dream"), root(drift, f"{kind}/truth")
            if len(off):
                says = f"read off the truth: {1000 * floor[-1]:.0f}"
                figures.append(Figure(f"{name}: {kind} at the end", float(1000 * off[-1]), unit, None, says))
        far, still = (mean(drift, f"far/{n}")[1] for n in ("dream", "copy_last"))
        if len(far):
            figures.append(
                Figure(f"{name}: perceptual distance", float(far[-1]), "", None, f"copy-last {still[-1]:.2f}")
            )
        details[acts] = {
            "margin": {space: margins(drift, space)[0].tolist() for space in ("camera", "rendered")},
            "signal": {n: signal(drift, n).tolist() for n in ("dream", "copy_last", "linear_motion", "rendered")},
            "probe": dict(judges.errors),
        }
    return figures, details


def long(footage: Footage, plan: Plan) -> tuple[list[Figure], dict[str, object]]:
    """Dream for minutes; count the dreams that stay like the data, and the frames a second."""
    judges = judges_of(footage, 0)
    drift = dream_all(footage, plan, judges)
    kept, (at, like) = standing(drift), mean(drift, "holds")
    assert kept is not None
    motion = drift.measures["motion/dream"]
    first, last = (motion[:, part].mean() for part in (slice(0, plan.compared), slice(-plan.compared, None)))
    truth = np.nanmean(drift.measures["motion/truth"])
    seconds = plan.frames / drift.rate
    says = f"{plan.count} dreams of {seconds:g} s; {100 * judges.real:.0f} % of held-out frames count as like the data"
    figures = [
        Figure("not collapsed", float(kept.mean()), "", STANDING, says),
        Figure("motion at first", float(first / truth), "x", None, "of the motion recorded there"),
        Figure("motion at the end", float(last / truth), "x", None, "of the same"),
        Figure("speed", drift.speed, "frames/s", None, f"{min(plan.batch, plan.count)} at once, {drift.seconds:.0f} s"),
    ]
    return figures, {"seconds": ((at + 1) / drift.rate).tolist(), "like_the_data": like.tolist()}


def network_of(checkpoint: Path) -> VideoNetwork:
    """Return the video model of a checkpoint, or of one with video and idm in it, where it runs fastest."""
    network = load_video(checkpoint / "video" if (checkpoint / "video").is_dir() else checkpoint)
    return network.to("cuda" if torch.cuda.is_available() else "cpu").fast()


def main(words: Sequence[str] | None = None) -> None:
    """Dream, measure and print."""
    parser = arguments("dreams", (__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder of a trained video model")
    parser.add_argument("--data", type=Path, nargs="+", help="datasets; dreams begin in the episodes kept for tests")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the episodes kept; 0: all of them")
    parser.add_argument("--count", type=int, help="dreams")
    parser.add_argument("--batch", type=int, default=100, help="dreams at once")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as place:
        if given.tiny:
            given.data = [little_data(Path(place) / "rollout")]
            given.checkpoint = little_dva(Path(place), given.data[0])
            given.held_out = 0.34
        if not given.checkpoint or not given.data:
            parser.error("--checkpoint and --data are wanted")
        network = network_of(given.checkpoint)
        footage = footage_of([open_source(path) for path in given.data], network, given.held_out)
        rate = network.meaning.rate
        count, seconds, steps = sized(given, (200, LONG, 600), (24, 10.0, 200), (4, 1.0, 2))
        count = given.count or count
        ahead, shown = (round(s * rate) for s in ((0.6, 0.4) if given.tiny else (AHEAD, SHOWN)))
        plan = Plan(count, ahead, shown, ahead, batch=given.batch)
        figures, details = short(footage, plan, steps)
        more, drifted = long(footage, Plan(count, round(seconds * rate), shown, ahead, batch=given.batch))
    episodes = sum(len(test) for test in footage.test)
    setting = f"{count} dreams from {episodes} held-out episodes, {torch.get_num_threads()} threads"
    publish("dreams", given, figures + more, setting, {**details, "drift": drifted})


if __name__ == "__main__":
    main()
