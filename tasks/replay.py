"""Replays: an episode is simulated again from its seed, row and actions, and compared with what was recorded.

On the machine and with the versions that made it, an episode comes out bit for bit. Elsewhere another compiler's
rounding may part the two; then `greatest` says how far they get from each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from assets.errors import InputError
from sim.knobs import Rows
from tasks.dataset.lerobot_format import ACTION
from tasks.dataset.reader import open_dataset
from tasks.simulation import Settings, Simulation, versions


@dataclasses.dataclass(frozen=True)
class Replay:
    """How a replay compares with the recorded episode.

    Attributes:
        matches: every state is the same, bit for bit.
        first_difference: number of the first state that differs (0: the initial one), or None.
        greatest: greatest difference of any position or velocity, in their own units.
        versions: {name: (recorded, present)} of those that differ.
    """

    matches: bool
    first_difference: int | None
    greatest: float
    versions: dict[str, tuple[str, str]]


def replay(root: Path, episode: int) -> Replay:
    """Simulate an episode of the dataset at `root` again and compare all its states.

    Raises:
        InputError: no dataset or no such episode, or one that does not fit the present knobs.
    """
    dataset = open_dataset(root)
    metadata, recorded = dataset.metadata(episode), dataset.states(episode)
    actions = dataset.episode(episode)[ACTION].astype(np.float64)
    # No pictures: they do not act back on the physics.
    settings = dataclasses.replace(Settings.from_dict(dataset.settings["simulation"]), cameras=())
    simulation = Simulation(settings, 1, nthread=1)
    ids = np.zeros(1, dtype=np.int64)
    states = np.zeros_like(recorded)
    if simulation.full_state(ids).shape[1] != recorded.shape[1]:
        raise InputError(
            f"{root}: episode {episode} holds states of {recorded.shape[1]} numbers, this scene has "
            f"{simulation.full_state(ids).shape[1]}; replay it with the version it was made with"
        )
    simulation.task.apply(row_of(metadata, settings), ids)
    states[0] = simulation.full_state(ids)[0]
    for k, action in enumerate(actions):
        simulation.task.advance(action[None], ids)
        states[k + 1] = simulation.full_state(ids)[0]
    # Bit for bit, but for the sign of zero: it only says whether a resting body is awake.
    different = (states != recorded).any(axis=1)
    now = versions()
    return Replay(
        matches=not different.any(),
        first_difference=int(np.argmax(different)) if different.any() else None,
        greatest=float(np.abs(states - recorded).max()),
        versions={k: (v, now.get(k, "none")) for k, v in metadata["versions"].items() if v != now.get(k)},
    )


def row_of(metadata: Mapping[str, Any], settings: Settings) -> Rows:
    """Return the table of one row that an episode was made from."""
    columns = {name: np.asarray(value, dtype=np.float64)[None] for name, value in metadata["row"].items()}
    return Rows(settings.knobs, columns, metadata["seed"], np.array([metadata["variant"]]))
