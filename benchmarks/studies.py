"""What learning is worth, study by study: each trains policies and lets them drive on held-out variants.

    palletlab rollout count=400 variation.carton.count=1 image_size=96 out=demos
    palletlab generate count=100 seed=1 variation.carton.count=1 out=held_out
    python -m benchmarks.studies budget --data demos/dataset --variants held_out/variants.parquet

Studies:

budget       success of direct video action and of the baselines on the same backbone against hours of data
labels       a baseline trained on pseudo-actions that an inverse model read from video, against true actions
pretraining  direct video action with little robot data, its video model pretrained on video without actions, or not
loop         one trained checkpoint driven in several ways: leapfrog or not, denoising steps
imagination  the video model's knowledge with imagination at run time, and put out as actions without it
memory       success against frames of context, on a task that needs a memory
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.learning import HEADS, SHARES, Bench, Loop, difference, hours_of, palletlab

HOURS = (0.1, 0.3, 1.0, 3.0, 10.0)
LITTLE = 0.3  # [h] of robot data beside video without actions
FRAMES, LONGEST = (1, 16, 64, 256), 128  # of context; of a window in training: episodes are no longer
LABELLED = 0.3  # [h] that the inverse model learns from
TINY = (
    "autoencoder.width=16", "autoencoder.channels=2", "transformer.width=16", "transformer.depth=2",
    "transformer.heads=2", "transformer.context=16", "inverse.width=16", "inverse.depth=1", "inverse.heads=2",
    "training.tokenizer.batch=2", "training.video.batch=2", "training.video.length=8", "training.idm.batch=2",
    "training.baseline.batch=2", "training.baseline.length=8", "how.sample_every=0",
)  # fmt: skip


def rate(name: str, loop: Loop, bar: float | None = None) -> Figure:
    """Return a success rate as a line of the table."""
    figure = loop.figure
    return Figure(
        name, figure["value"], "", bar, f"{len(loop.success)} variants", low=figure["low"], high=figure["high"]
    )


def budget(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """Success against hours of data, for the same minutes of training each."""
    figures = []
    for hours in [h for h in given.hours or HOURS if h <= 1.05 * hours_of(bench.data)]:
        few = f"hours={hours:g}"
        folder = bench.dva(f"dva-{hours:g}h", given.minutes, few)
        figures.append(rate(f"dva, {hours:g} h", bench.drive("dva", folder, folder.name)))
        for head in HEADS:
            made = bench.baseline(f"{head}-{hours:g}h", given.minutes, head, folder / "tokenizer", few)
            figures.append(rate(f"{head}, {hours:g} h", bench.drive("baseline", made, made.name)))
    return figures


def labels(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """A baseline's success with pseudo-actions over its success with true ones."""
    tokenizer = bench.folder / "labels-tokenizer"
    bench.train("tokenizer", tokenizer, given.minutes * SHARES["tokenizer"])
    idm = bench.folder / "labels-idm"
    bench.train("idm", idm, given.minutes * SHARES["idm"], f"hours={LABELLED}")
    labelled = []
    for number, data in enumerate(bench.data):
        out = bench.folder / f"labelled-{number}"
        if not (out / "dataset").is_dir():
            palletlab("label", f"data=[{data}]", f"idm={idm}", "drop=true", f"out={out}")
        labelled.append(out / "dataset")
    loops = []
    for name, data in (("true", bench.data), ("pseudo", labelled)):
        words = f"data=[{','.join(map(str, data))}]"
        made = bench.baseline(f"labels-{name}", given.minutes, "flow", tokenizer, words)
        loops.append(bench.drive("baseline", made, made.name))
    true, pseudo = loops
    share = float(pseudo.success.mean() / max(true.success.mean(), 1e-9))
    return [
        rate("true actions", true),
        rate("pseudo-actions", pseudo),
        Figure("success with pseudo-actions over true", share, "x", 0.8, f"{LABELLED:g} h labelled by hand"),
    ]


def pretraining(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """Success with little robot data, with and without a video model that saw all of the video before."""
    few = f"hours={LITTLE:g}"
    tokenizer, first = bench.folder / "pre-tokenizer", bench.folder / "pre-video"
    bench.train("tokenizer", tokenizer, given.minutes * SHARES["tokenizer"])
    bench.train("video", first, given.minutes * SHARES["video"], f"tokenizer={tokenizer}", "actions=false")
    loops = []
    for name, more in (("with", (f"start={first}",)), ("without", ())):
        folder = bench.folder / f"pre-{name}"
        bench.train("video", folder / "video", given.minutes * SHARES["video"], f"tokenizer={tokenizer}", few, *more)
        bench.dva(folder.name, given.minutes, few, tokenizer=tokenizer, video=folder / "video")
        loops.append(bench.drive("dva", folder, folder.name))
    gain, low, high = difference(loops[0].success, loops[1].success)
    return [
        rate(f"pretrained on video, {LITTLE:g} h of robot data", loops[0]),
        rate(f"{LITTLE:g} h of robot data alone", loops[1]),
        Figure("gain", gain, "", None, "same variants", low=low, high=high),
    ]


def loop(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """One checkpoint, driven in several ways."""
    folder = given.checkpoint or bench.dva("loop", given.minutes)
    ways = {"leapfrog": (), "sequential": ("loop.lead=0",), "1 step": ("loop.steps=1",), "6 steps": ("loop.steps=6",)}
    return [rate(name, bench.drive("dva", folder, f"loop-{name}", *more)) for name, more in ways.items()]


def imagination(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """A video model that imagines, against a baseline that begins with its weights and imagines nothing."""
    folder = given.checkpoint or bench.dva("imagining", given.minutes)
    start = f"video={folder / 'video'}"
    made = bench.baseline("not-imagining", given.minutes * SHARES["idm"], "flow", folder / "video", start)
    loops = [bench.drive("dva", folder, "imagining-driven"), bench.drive("baseline", made, made.name)]
    gain, low, high = difference(loops[0].success, loops[1].success)
    return [
        rate("imagination at run time", loops[0]),
        rate("none, the same video model", loops[1]),
        Figure("gain", gain, "", None, "same variants", low=low, high=high),
    ]


def memory(bench: Bench, given: argparse.Namespace) -> list[Figure]:
    """Success against frames of context: what lies further back is neither seen in training nor kept."""
    figures = []
    tokenizer = bench.folder / "memory-tokenizer"
    bench.train("tokenizer", tokenizer, given.minutes * SHARES["tokenizer"])
    for frames in given.frames or FRAMES:
        # A layer's reach counts the frame that is imagined, too; anchors would be a memory of their own.
        length = min(max(2 * frames, 32), 8 if given.tiny else LONGEST)
        reach = (
            f"transformer.context={frames + 1}",
            f"transformer.local={min(frames + 1, 32)}",
            "transformer.anchors=0",
        )
        whole = (*reach, f"training.video.length={length}", f"training.video.batch={max(1, 128 // length)}")
        folder = bench.dva(f"memory-{frames}", given.minutes, *whole, tokenizer=tokenizer)
        figures.append(rate(f"{frames} frames of context", bench.drive("dva", folder, folder.name)))
    return figures


STUDIES: dict[str, Callable[[Bench, argparse.Namespace], list[Figure]]] = {
    "budget": budget,
    "labels": labels,
    "pretraining": pretraining,
    "loop": loop,
    "imagination": imagination,
    "memory": memory,
}


def main(words: Sequence[str] | None = None) -> None:
    """Make one of the studies."""
    parser = arguments("studies", (__doc__ or "").splitlines()[0])
    parser.add_argument("study", choices=list(STUDIES))
    parser.add_argument("--data", type=Path, nargs="+", help="datasets to learn from")
    parser.add_argument("--variants", type=Path, help="held-out variants: a table of `palletlab generate`")
    parser.add_argument("--minutes", type=float, help="of training, for each policy in all")
    parser.add_argument("--hours", type=float, nargs="+", help="of data, in `budget`")
    parser.add_argument("--frames", type=int, nargs="+", help="of context, in `memory`")
    parser.add_argument("--checkpoint", type=Path, help="in `loop` and `imagination`: a trained one")
    parser.add_argument("--work", type=Path, help="folder for all that is made; what is there is not made again")
    given = parser.parse_args(words)
    given.minutes = given.minutes or sized(given, 60.0, 2.0, 0.02)
    work = (given.work or given.out.with_suffix("")).resolve()
    settings: tuple[str, ...] = ()
    driving: tuple[str, ...] = ()
    if given.tiny:
        given.data, given.variants, settings, driving = *_little(work), TINY, ("seconds=1",)
        given.hours = given.hours or [0.001]
    if not given.data or not given.variants:
        parser.error("--data and --variants are wanted")
    bench = Bench(work, tuple(path.resolve() for path in given.data), given.variants.resolve(), settings, driving)
    figures = STUDIES[given.study](bench, given)
    where = f"{hours_of(bench.data):.2f} h of data, {given.minutes:g} minutes of training each"
    publish("studies", given, figures, f"{given.study}, {where}")


def _little(work: Path) -> tuple[list[Path], Path]:
    """Make a dataset and variants, as small as can be."""
    small = ("variation.carton.count=1", "task.slots=2", "seconds=2", "worlds=2", "workers=1", "count=3")
    if not (work / "demos").exists():
        palletlab("rollout", *small, "image_size=32", f"out={work / 'demos'}")
        palletlab("generate", *small[:2], "count=1", "seed=1", "sheet=false", f"out={work / 'held_out'}")
    return [work / "demos" / "dataset"], work / "held_out" / "variants.parquet"


if __name__ == "__main__":
    main()
