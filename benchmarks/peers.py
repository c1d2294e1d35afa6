"""LeRobot's own ACT and diffusion policy on one of our datasets: trained for some minutes, driven in our simulation.

Training and inference happen in lerobot's environment (`make lerobot-env`), in a process that `peers_lerobot.py` is;
the simulation asks it through a pipe. The episodes are those of a table of variants, as `palletlab evaluate` runs them:

    palletlab generate draws=100 seed=1                     # held out: the dataset was drawn with another seed
    python -m benchmarks.peers --dataset FOLDER/dataset --variants FOLDER/variants.parquet --minutes 60
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from assets.errors import InputError
from benchmarks.common import ROOT, Figure, arguments, publish, sized
from palletlab.commands.rollout import _read_rows
from tasks.dataset.reader import open_dataset
from tasks.evaluation import evaluate
from tasks.rollout import Job, roll_out
from tasks.simulation import Settings

KINDS = ("act", "diffusion")
PYTHON = ROOT / ".venv-lerobot" / "bin" / "python"
SCRIPT = Path(__file__).with_name("peers_lerobot.py")


@dataclasses.dataclass(frozen=True)
class Peer:
    """Makes a trained peer drive so many worlds; travels to the worker processes."""

    python: Path
    kind: str
    folder: Path

    def __call__(self, nworld: int) -> PeerPolicy:
        """Start it."""
        return PeerPolicy(self)


class PeerPolicy:
    """A policy in another process (fits the `Policy` contract); it ends with this one, when its pipe closes."""

    def __init__(self, peer: Peer) -> None:
        self._process = subprocess.Popen(
            command(peer.python, "serve", peer.kind, str(peer.folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        self._cameras = self._read()

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Begin episodes; a variant's noise is the same in every run."""
        self._ask("reset", ids, variants.tolist())

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action (n, 1, A); the peer keeps the rest of its chunks."""
        return self._ask("act", ids, {name: observation[name] for name in ("state", *self._cameras)})[:, None]

    def _ask(self, what: str, ids: np.ndarray, given: Any) -> Any:
        assert self._process.stdin is not None
        pickle.dump((what, ids.tolist(), given), self._process.stdin)
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        try:
            return pickle.load(self._process.stdout)
        except EOFError:
            raise RuntimeError(f"lerobot's process ended with {self._process.wait()}; see its lines above") from None


def command(python: Path, *words: str) -> list[str]:
    """Return the command line that runs the script in lerobot's environment."""
    if not python.exists():
        raise InputError(f"{python}: no such interpreter; `make lerobot-env` makes the environment of lerobot")
    return [str(python), str(SCRIPT), *words]


def environment() -> dict[str, str]:
    """Return the environment of a process that must not reach for the network."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def train(given: argparse.Namespace, kind: str, folder: Path) -> dict[str, Any]:
    """Train a peer into a folder; return how far it came."""
    more = json.dumps(json.loads(given.config).get(kind, {}))
    words = (str(given.dataset), str(folder), str(given.minutes), str(given.size), str(given.batch), more)
    run = subprocess.run(
        command(given.python, "train", kind, *words), env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(run.stdout.splitlines()[-1])


def drive(given: argparse.Namespace, kind: str, folder: Path, root: Path) -> dict[str, Any]:
    """Run a trained peer over the variants; return the evaluation."""
    recorded = open_dataset(given.dataset)
    settings = Settings.from_dict(recorded.settings["simulation"])
    rows = _read_rows(given.variants, settings.family)
    rows = rows.take(np.arange(min(given.episodes, len(rows))))
    settings = dataclasses.replace(settings, slots=rows.knobs.axes["slot"])
    worlds = min(8, len(rows))
    job = Job(settings, kind, rows, root, worlds, workers=1, make=Peer(given.python, kind, folder))
    roll_out(job)
    return evaluate(open_dataset(root))


def main() -> None:
    """Train each peer and drive it; print its success."""
    parser = arguments("peers", __doc__ or "")
    parser.add_argument("--dataset", type=Path, required=True, help="what is learned from")
    parser.add_argument("--variants", type=Path, required=True, help="what is driven: a table of `palletlab generate`")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--minutes", type=float, help="of training, each")
    parser.add_argument("--episodes", type=int, help="driven, each")
    parser.add_argument("--size", type=int, default=128, help="pixels of a view")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--config", default="{}", help='settings of lerobot\'s, e.g. {"act": {"dim_model": 256}}')
    parser.add_argument("--python", type=Path, default=PYTHON, help="interpreter of lerobot's environment")
    given = parser.parse_args()
    given.minutes = sized(given, 60.0, 1.0, 0.05) if given.minutes is None else given.minutes
    given.episodes = sized(given, 100, 4, 1) if given.episodes is None else given.episodes
    figures, details = [], {}
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as place:
            details[kind] = train(given, kind, Path(place) / "policy")
            found = drive(given, kind, Path(place) / "policy", Path(place) / "dataset")
        success = found["figures"]["success"]
        details[kind] |= {"failures_by_cause": found["failures_by_cause"]}
        note = f"{details[kind]['steps']} steps of {given.batch}, {details[kind]['parameters'] / 1e6:.1f} M parameters"
        figures.append(
            Figure(f"{kind}: success", success["value"], "", None, note, low=success["low"], high=success["high"])
        )
    publish("peers", given, figures, f"{given.minutes:g} minutes each, {given.episodes} episodes", details)


if __name__ == "__main__":
    main()
