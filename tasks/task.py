"""The contracts: a task in many worlds, its verdict, a policy, and the task family: all that differs between tasks.

Simulation, environments, rollouts, datasets, evaluation, commands and reports are written against these and name no
task. To add a task, write a package with a `family.py` that holds `FAMILY` and name it in `tasks.families`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from assets.arms import Arm
from assets.errors import unknown
from assets.gripper import Cups
from sim.cell import Cell
from sim.knobs import Knobs, Rows
from sim.scene import Scene


class Layout(Protocol):
    """An arm and where things stand around it: a frozen dataclass of plain values, which `conf/robot` sets."""

    @property
    def robot(self) -> str:
        """Name of the arm, a key of `assets.arms.ARMS`."""
        ...

    @property
    def arm(self) -> Arm:
        """The arm."""
        ...

    def check(self) -> None:
        """Raise InputError when the layout is impossible."""
        ...


class Verdict(Protocol):
    """What is said of one finished episode."""

    @property
    def success(self) -> bool:
        """Nothing is wrong."""
        ...

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, one line each; what it is about comes first, with its number: `carton 3 off by 17.2 mm`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, `success` and `reasons` among them, e.g. for JSON."""
        ...


class Clock(Protocol):
    """Where each world's work stands, as far as every task has it."""

    @property
    def period(self) -> np.ndarray:
        """Control periods since the reset, (nworld,)."""
        ...


class Task(Protocol):
    """One task in many worlds; arrays have the world as first axis, `ids` (n,) are world indices.

    `events` holds, for each world since its reset, what happened: `time` [s], `event` (in the words "arrived",
    "attached", "released" and "lost: pulled off" where they fit) and, where it happened to one, the thing with its
    number, e.g. `"carton": 3`.
    """

    events: list[list[dict[str, Any]]]

    @property
    def state(self) -> Clock:
        """Where each world's work stands."""
        ...

    def apply(self, rows: Rows, ids: np.ndarray) -> None:
        """Start the worlds `ids` on new rows, one each."""
        ...

    def advance(self, action: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Run one control period with `action` (n, number of action names); return the reward (n,)."""
        ...

    def observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Return float32 `state` and `environment_state`, (n, number of their names) each."""
        ...

    def instruction(self, ids: np.ndarray) -> list[str]:
        """Return what is to be done now in each world, one of the family's `instructions`."""
        ...

    def finished(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) whether the work is done, and whether the time is up."""
        ...

    def judge(self, ids: np.ndarray) -> list[Verdict]:
        """Return the verdict on each of the worlds `ids`, which are spent: they have to be reset."""
        ...

    def save(self, ids: np.ndarray) -> Any:
        """Return the complete state of the worlds `ids`."""
        ...

    def restore(self, state: Any, ids: np.ndarray) -> None:
        """Put worlds that run the same rows back into a saved state; they go on from there bit for bit."""
        ...


class Policy(Protocol):
    """What acts: the expert, a baseline, a learned policy."""

    def reset(self, ids: np.ndarray, variants: np.ndarray) -> None:
        """Begin episodes of the variants with these numbers in the worlds `ids`."""
        ...

    def act(self, observation: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the next action chunk (n, length, actions) for the worlds `ids`, given their observation (n, ...)."""
        ...


class Prepare(Protocol):
    """Makes drawn rows ready to run."""

    def __call__(self, drawn: Rows, layout: Any, slots: int, *, first_only: bool = False) -> Rows:
        """Return rows of `slots` slots in which everything stands that a world needs.

        One drawn row may give several (palletizing: one for each pallet of an order); `first_only` keeps the first.
        """
        ...


@dataclasses.dataclass(frozen=True)
class TaskFamily:
    """All that one task does differently from another.

    Every family's scene has the cameras "cell" and "wrist"; its actions begin with the joint targets of the arm.

    Attributes:
        name: key of `tasks.families.FAMILIES`, folder in `conf/variation` and `conf/robot`, file in `conf/task`.
        environment: what its Gymnasium ids are called: `palletlab/<environment>-v0`.
        says: what the task is, in one line.
        thing: what a slot holds, e.g. "carton"; events and reasons name it by this.
        count: name of the knob that says how many slots a row uses.
        slots: how many the scene has when nothing else is said.
        instructions: every sentence that `Task.instruction` can return: the dataset's tasks, by their index.
        layout: class of its layouts (see `Layout`), default values included.
        cups: suction cups of its tool.
        state_names, action_names: names of the numbers in `state` and in an action.
        surroundings_names: of the numbers in `environment_state`, for so many slots.
        action_bounds: of a layout, least and greatest action, one number for each action name.
        knobs: the knobs for so many slots; with stages, `stage.first` and `stage.last` (index) are among them.
        scene: the template of a layout with so many slots.
        make: puts the task to work in a cell.
        prepare: makes drawn rows ready to run.
        policies: what can act, by name, for a layout and a number of worlds.
        figures: what an evaluation says of episodes beside success (see `tasks.figures`), from their metadata.
        pieces: how many things an episode brought where they belong, and of how many, from its metadata.
        captions: a line for each row, e.g. for a contact sheet.
        pictured: the rows as a contact sheet shows them: at the start, or with the work done.
        stages: names of its stages in order; each can be run alone.
        planned: beginnings of names of knobs that `prepare` fills in: they say nothing about a policy.
        least_drawn: rows are drawn with at least so many slots, where `prepare` may leave some out.
    """

    name: str
    environment: str
    says: str
    thing: str
    count: str
    slots: int
    instructions: tuple[str, ...]
    layout: type[Any]
    cups: Callable[[], Cups]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    surroundings_names: Callable[[int], tuple[str, ...]]
    action_bounds: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    knobs: Callable[[int], Knobs]
    scene: Callable[[Any, int], Scene]
    make: Callable[[Cell, Any], Task]
    prepare: Prepare
    policies: Mapping[str, Callable[[Any, int], Policy]]
    figures: Callable[[Sequence[Mapping[str, Any]]], dict[str, dict[str, Any]]]
    pieces: Callable[[Mapping[str, Any]], tuple[int, int]]
    captions: Callable[[Rows], list[str]]
    pictured: Callable[[Rows], Rows]
    stages: tuple[str, ...] = ()
    planned: tuple[str, ...] = ()
    least_drawn: int = 0

    def only_stage(self, rows: Rows, stage: str | None) -> Rows:
        """Return rows that run only this stage; as they are where none is named.

        Raises:
            InputError: the family has no such stage.
        """
        if stage is None:
            return rows
        self.check_stage(stage)
        number = np.full(len(rows), float(self.stages.index(stage)))
        return rows.replaced(stage__first=number, stage__last=number)

    def check_stage(self, stage: str | None) -> None:
        """Raise InputError, naming the nearest ones, for a stage that the family does not have."""
        if stage is not None and stage not in self.stages:
            raise unknown(f"stage of {self.name}", stage, self.stages)

    def environment_id(self, stage: str | None = None) -> str:
        """Return the Gymnasium id, e.g. `palletlab/ToteBreakdown-BreakDown-v0` for the stage "break_down"."""
        part = "" if stage is None else "-" + "".join(word.capitalize() for word in stage.split("_"))
        return f"palletlab/{self.environment}{part}-v0"
