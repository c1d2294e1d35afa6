"""The DVA loop as an ordinary policy: it fits the `Policy` contract of the tasks, in a simulation that waits for it.

Leapfrog is exact bookkeeping there: a chunk is inferred from the frames up to its asking and executed after what is in
flight then, as in real time. `act` is called once a control period and returns what is decided and not yet executed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from assets.errors import InputError, unknown
from policies.data.view import View
from policies.dva.leapfrog import Decider, Flight, Rhythm, Seen
from policies.embodiment import ACTION, STATE, Embodiment


@dataclasses.dataclass(frozen=True)
class Cell:
    """What the cell offers that a policy is to work in, in the words of its datasets.

    Attributes:
        robot: name of the arm.
        state_names, action_names: of the numbers in a state and in an action.
        cameras: names of its cameras.
        period: from one action to the next [s].
    """

    robot: str
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    cameras: tuple[str, ...]
    period: float


@dataclasses.dataclass(frozen=True)
class Senses:
    """What of an observation the models are given, and how an arm holds.

    Attributes:
        views: what is seen of the cameras.
        proprio: places in the state of the numbers of proprioception.
        hold: for each number of an action, the place in the state of what it is a target of; -1 for a command, which is
            zero while nothing is decided.
        texts: what the models know to do; a task is an index into them.
    """

    views: tuple[View, ...]
    proprio: tuple[int, ...]
    hold: tuple[int, ...]
    texts: tuple[str, ...]

    @staticmethod
    def of(cell: Cell, views: Sequence[View], embodiment: Embodiment, texts: Sequence[str]) -> Senses:
        """Return the senses for a cell, of models that know the embodiment and the texts.

        Raises:
            InputError: the cell lacks a camera or a number of the state, or takes other actions.
        """
        for view in views:
            if view.camera not in cell.cameras:
                raise unknown("camera of the cell, which the checkpoint sees,", view.camera, cell.cameras)
        if embodiment.actions != cell.action_names:
            raise InputError(
                f"the checkpoint acts as {embodiment.name} ({', '.join(embodiment.actions)}), "
                f"the cell takes {', '.join(cell.action_names)}"
            )
        state = {name: number for number, name in enumerate(cell.state_names)}
        hold = tuple(state.get(name, -1) for name in cell.action_names)
        return Senses(tuple(views), tuple(embodiment.columns(cell.state_names)), hold, tuple(texts))

    def holding(self, state: np.ndarray) -> np.ndarray:
        """Return the action (A,) that holds an arm in this state (S,)."""
        return np.array([state[place] if place >= 0 else 0.0 for place in self.hold], np.float32)

    def seen(self, observation: Mapping[str, np.ndarray], which: Sequence[int]) -> list[Seen]:
        """Return the frames of some rows of an observation: pictures by camera (n, h, w, 3), `state` (n, S)."""
        rows = list(which)
        for view in self.views:
            if view.camera not in observation:
                raise InputError(f"the policy sees the camera {view.camera!r}, of which there is no picture")
        pictures = {view.name: view.of(observation[view.camera][rows]) for view in self.views}
        proprio = observation["state"][rows][:, list(self.proprio)].astype(np.float32)
        return [Seen({name: p[k] for name, p in pictures.items()}, proprio[k]) for k in range(len(rows))]

    def task(self, text: str) -> int:
        """Return the index of a task's text, or raise InputError."""
        if text not in self.texts:
            raise unknown("task, to the checkpoint,", text, self.texts)
        return self.texts.index(text)


def embodiment_of(cell: Cell, known: Sequence[Embodiment]) -> int:
    """Return which of a checkpoint's embodiments the cell's arm and tool are.

    Raises:
        InputError: none of them.
    """
    features = {STATE: cell.state_names, ACTION: cell.action_names}
    info = {
        "robot_type": cell.robot,
        "features": {key: {"names": list(names), "shape": [len(names)]} for key, names in features.items()},
    }
    for torques in (None, False):
        found = Embodiment.of(info, torques, "the cell")
        if found in known:
            return list(known).index(found)
    found = Embodiment.of(info, None, "the cell")
    names = ", ".join(e.name for e in known)
    raise InputError(f"the checkpoint knows {names}; the cell has {found.name}, with {', '.join(found.proprio)}")


class DVAPolicy:
    """Video action in `nworld` worlds (fits the `Policy` contract)."""

    def __init__(self, decider: Decider, rhythm: Rhythm, senses: Senses, nworld: int):
        """Have `decider`, here or elsewhere, decide for `nworld` arms in this rhythm."""
        self.decider, self.rhythm, self.senses = decider, rhythm, senses
        self._flights = [Flight(rhythm, world) for world in range(nworld)]
        self._episode: dict[int, int] = {}  # of worlds that are to begin: the variant

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Begin episodes: the arms hold until their first decision; a variant's noise is the same in every run."""
        self._episode |= dict(zip(np.asarray(ids).tolist(), np.asarray(variants).tolist(), strict=True))

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return what is decided and not yet executed (n, length, A), as far as all of the worlds have it.

        Args:
            observation: `state` (n, S), a picture (n, height, width, 3) uint8 by the name of each camera, and the texts
                of what is to be done (n,) as `instruction`; without, it is the first text that the models know.
            ids: (n,) worlds.
        """
        worlds, texts = np.asarray(ids).tolist(), observation.get("instruction")
        flights = [self._flights[world] for world in worlds]
        for k, world in enumerate(worlds):
            if world in self._episode:
                flights[k].begin(self.senses.holding(observation["state"][k]), self._episode.pop(world))
            flights[k].task = 0 if texts is None else self.senses.task(str(texts[k]))
        framed = [k for k, flight in enumerate(flights) if flight.at_frame]
        if framed:
            for k, seen in zip(framed, self.senses.seen(observation, framed), strict=True):
                flights[k].see(seen)
        questions = {k: flights[k].ask() for k in framed if flights[k].due}
        chunks = self.decider.decide(list(questions.values())) if questions else []
        for (k, question), chunk in zip(questions.items(), chunks, strict=True):
            flights[k].answer(question, chunk)
        rests = [flight.rest() for flight in flights]
        for flight in flights:
            flight.next()
        length = min(len(rest) for rest in rests)
        return np.stack([rest[:length] for rest in rests])
