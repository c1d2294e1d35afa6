"""The inverse dynamics model: joint targets read off recorded frames, off dreams, and of a second arm with little data.

    python -m benchmarks.inverse --checkpoint FOLDER --data DATASET --second OTHER --minutes 20

Windows are those of the loop: four real frames, then a chunk whose actions are in flight, then the chunk that is read,
and a frame more. "recorded": the frames after the real ones are recorded ones. "dreamed": they are the video model's,
which is told the recorded actions, so that what is read can be compared with them; "by itself": it is not told the
chunk that is read, and what differs is its choice as well. All in episodes that training kept for tests.

The second arm is learned from a tenth of the first one's hours, beside the first one's data, by the model as it is.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assets.errors import InputError
from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.dreams import network_of
from benchmarks.little import little_data, little_dva
from policies.data.frames import Prepared, prepare
from policies.data.videos import open_source
from policies.data.windows import Batch, Batches, Sampler, Windows, train_test
from policies.idm.errors import extrapolation_errors, target_errors
from policies.idm.learner import IDMLearner
from policies.idm.load import load_idm
from policies.idm.model import InverseDynamics
from policies.training import TrainSettings, train
from policies.video.dream import dream
from policies.video.learner import condition_of
from policies.video.network import Meaning, VideoNetwork

RECORDED, DREAMED, RATIO = 3.0, 10.0, 1.5  # [mrad], [mrad], second arm's error over the first's
HISTORY, BEYOND = 4, 1  # [frames] real ones that are read, and those after what is read; as in `policies.dva.decider`
SHARE = 0.1  # of the first arm's hours
LENGTH, BATCH = 14, 16  # of the second arm's training


@dataclasses.dataclass(frozen=True)
class Reader:
    """An inverse model, what its numbers mean, and how many frames a decision covers."""

    module: InverseDynamics
    meaning: Meaning
    chunk: int

    def error(self, batch: Batch, frames: dict[str, Tensor] | None = None) -> float:
        """Return the mean square error of the chunk's joint targets [mrad²]; `frames` in place of the windows' own."""
        wrong = target_errors(self.module, batch, HISTORY - 1, self.chunk, frames=frames)
        return self._square(batch, wrong)

    def blind(self, batch: Batch) -> float:
        """Return the same for going on as the last actions went."""
        return self._square(batch, extrapolation_errors(self.module, batch, HISTORY - 1)["linear"])

    def _square(self, batch: Batch, wrong: Tensor) -> float:
        joints = len(self.meaning.embodiments[int(batch.embodiment[0])].positions)
        return 1e6 * float(wrong[self.chunk : 2 * self.chunk, :joints].square().mean())


def windows_of(prepared: Prepared, meaning: Meaning, length: int, held_out: float) -> Windows:
    """Return the windows of the episodes that training kept for tests; of all of them without a share."""
    kept = train_test(prepared.starts, held_out)[1] if held_out else None
    windows = Windows([prepared], length, [kept], meaning.texts, meaning.embodiments)
    if windows.embodiments != meaning.embodiments:
        raise InputError(f"{prepared.root}: shows {prepared.embodiment.name}, which the model does not know")
    return windows


def drawn(windows: Windows, count: int, size: int = 32) -> list[np.ndarray]:
    """Return windows in batches, the same in every run."""
    picks = np.random.default_rng(0).permutation(len(windows))[:count]
    return np.array_split(picks, -(-len(picks) // size))


def tail(batch: Batch, frames: int) -> Batch:
    """Return the last frames of windows."""
    seen = {view: pictures[:, -frames:] for view, pictures in batch.frames.items()}
    return dataclasses.replace(
        batch, frames=seen, proprio=batch.proprio[:, -frames:], actions=batch.actions[:, -frames:]
    )


def on_recorded(reader: Reader, prepared: Prepared, held_out: float, count: int) -> tuple[float, float]:
    """Return the root mean square error on recorded frames, and that of going on blindly [mrad]."""
    length = HISTORY + 2 * reader.chunk + BEYOND
    windows = windows_of(prepared, reader.meaning, length, held_out)
    device = next(reader.module.parameters()).device
    batches = [windows.batch(picks).to(device) for picks in drawn(windows, count)]
    squares = [(reader.error(batch), reader.blind(batch)) for batch in batches]
    error, blind = np.sqrt(np.mean(squares, axis=0)).tolist()
    return error, blind


def on_dreams(
    reader: Reader, network: VideoNetwork, prepared: Prepared, held_out: float, count: int, shown: int
) -> dict[str, float]:
    """Return the root mean square errors on dreams that are told the actions, and on those that are not [mrad]."""
    ahead = 2 * reader.chunk + BEYOND
    windows = windows_of(prepared, network.meaning, shown + ahead, held_out)
    device = next(network.model.parameters()).device
    number = reader.meaning.embodiments.index(prepared.embodiment)
    squares: dict[str, list[float]] = {"told": [], "self": []}
    for picks in drawn(windows, count):
        batch = windows.batch(picks).to(device)
        frames, condition = network.encode(batch.frames), condition_of(network, batch)
        assert condition.actions is not None
        cut = tail(batch, HISTORY + ahead)
        cut = dataclasses.replace(cut, embodiment=torch.full_like(batch.embodiment, number))
        before = condition.frames(slice(0, shown))
        for acts, known in {"told": ahead, "self": reader.chunk}.items():
            led = condition.actions[:, shown : shown + known]
            draw = torch.Generator().manual_seed(int(picks[0]))
            imagined = torch.cat(list(dream(network, frames[:, :shown], before, ahead, led, generator=draw)), 1)
            seen = {
                view: torch.cat([cut.frames[view][:, :HISTORY].float() / 255, pictures.float()], 1)
                for view, pictures in network.decode(imagined.float()).items()
            }
            squares[acts].append(reader.error(cut, seen))
    return {acts: float(np.sqrt(np.mean(values))) for acts, values in squares.items()}


def taught(reader: Reader, first: Prepared, second: Prepared, given: argparse.Namespace, folder: Path) -> Reader:
    """Return the model taught a second arm with little data of it; the reader that is given stays as it is."""
    meaning = reader.meaning
    if second.embodiment in meaning.embodiments:
        raise InputError(f"{second.root}: the model knows {second.embodiment.name} already; name another arm's data")
    module, number = copy.deepcopy(reader.module).requires_grad_(True), len(meaning.embodiments)
    if number >= module.config.embodiments or second.stride != module.config.stride:
        raise InputError(f"{second.root}: {second.embodiment.name} does not fit into the model")
    known = dataclasses.replace(meaning, embodiments=(*meaning.embodiments, second.embodiment))
    mine, few = (train_test(p.starts, given.held_out or 0.1)[0] for p in (first, second))
    budget = SHARE * float(np.diff(first.starts)[mine].sum())
    few = few[: max(1, int(np.searchsorted(np.cumsum(np.diff(second.starts)[few]), budget, side="right")))]
    module.adopt(number)
    assert second.proprio is not None
    assert second.actions is not None
    parts = [slice(int(second.starts[e]), int(second.starts[e + 1])) for e in few]
    episodes = [(torch.from_numpy(second.proprio[s]), torch.from_numpy(second.actions[s])) for s in parts]
    module.measure(number, second.embodiment, episodes)
    length = 8 if given.tiny else LENGTH
    windows = Windows([first, second], length, [mine, few], known.texts, known.embodiments)
    settings = TrainSettings(minutes=given.minutes, steps=2 if given.tiny else 0, lr=1e-3, warmup=50)
    with Batches(windows, Sampler(len(windows), 2 if given.tiny else BATCH)) as batches:
        train(IDMLearner(module, known), batches, settings, folder)
    return Reader(module.eval().requires_grad_(False), known, reader.chunk)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments("inverse", (__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, help="folder with a trained video model and a trained idm in it")
    parser.add_argument("--data", type=Path, help="dataset of the arm that the models know")
    parser.add_argument("--held-out", type=float, default=0.1, help="share of the episodes kept; 0: all of them")
    parser.add_argument("--second", type=Path, help="dataset of an arm that the inverse model does not know")
    parser.add_argument("--minutes", type=float, help="in which it learns of it")
    parser.add_argument("--count", type=int, help="windows")
    given = parser.parse_args(words)
    given.minutes = given.minutes or sized(given, 20.0, 1.0, 0.0)
    with tempfile.TemporaryDirectory() as place:
        if given.tiny:
            given.data, given.held_out = little_data(Path(place) / "first"), 0.34
            given.second = little_data(Path(place) / "second", 2, "ur10e")
            given.checkpoint = little_dva(Path(place), given.data)
        if not given.checkpoint or not given.data:
            parser.error("--checkpoint and --data are wanted")
        count, shown = sized(given, (1000, 16), (64, 16), (4, 4))
        count = given.count or count
        network = network_of(given.checkpoint)
        module, meaning = load_idm(given.checkpoint / "idm")
        reader = Reader(module.to(next(network.model.parameters()).device), meaning, network.model.config.chunk)
        first = prepare(open_source(given.data), meaning.views, meaning.rate)
        error, blind = on_recorded(reader, first, given.held_out, count)
        dreamed = on_dreams(reader, network, first, given.held_out, count, shown)
        says = f"going on as before: {blind:.3g} mrad"
        figures = [
            Figure("joint targets, recorded frames", error, "mrad", RECORDED, says, True),
            Figure("joint targets, dreamed frames", dreamed["told"], "mrad", DREAMED, "told the actions", True),
            Figure("joint targets, dreams by itself", dreamed["self"], "mrad", None, "its choice differs, too"),
        ]
        if given.second:
            second = prepare(open_source(given.second), meaning.views, meaning.rate)
            both = taught(reader, first, second, given, Path(place) / "taught")
            other, blind = on_recorded(both, second, given.held_out, count)
            says = f"{second.embodiment.name}; going on as before: {blind:.3g} mrad"
            figures.append(Figure("second arm, recorded frames", other, "mrad", None, says))
            says = f"{100 * SHARE:g} % of the data, {given.minutes:g} min"
            figures.append(
                Figure("second arm's error over the first's", other / max(error, 1e-9), "x", RATIO, says, True)
            )
    setting = f"{count} windows, chunks of {reader.chunk} frames, {torch.get_num_threads()} threads"
    publish("inverse", given, figures, setting)


if __name__ == "__main__":
    main()
