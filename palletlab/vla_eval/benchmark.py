"""Our tasks as a benchmark of vla-eval: any of its model servers drives them, step by step or in real time.

    vla-eval run --no-docker -c conf/vla_eval/benchmark.yaml

An observation has `images` ("cell", and "wrist" where the server asks for it), `task_description` and, where the server
asks for it, `state`. An action is what our datasets call one: targets of the joints [rad], then the tool. Episode k of
a task is variant k, the same that `palletlab rollout` draws from the same settings and seed (of an order on several
pallets, the first one). In vla-eval's live mode (`mode: live`, `hz: 10`) the world moves on while the policy thinks; an
arm that is told nothing in time holds its last target.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vla_eval.benchmarks.base import StepBenchmark, StepResult
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW, DimSpec
from vla_eval.types import Action, EpisodeResult, Observation, Task

from assets.errors import InputError
from palletlab import config
from palletlab.vla_eval.wiring import action_spec
from sim.cell import PERIOD
from sim.knobs import Rows
from tasks.simulation import Settings, Simulation
from tasks.task import Verdict

WORLD = np.array([0])  # the only one
LONGEST = 100_000  # [steps] far beyond every task's own time limit, which ends an episode


class PalletlabBenchmark(StepBenchmark):
    """A task family: its whole task, and each of its stages as a task of its own."""

    _ALL_RECORD_FIELDS = frozenset({"reward", "done", "action"})

    def __init__(
        self,
        task: str = "palletizing",
        settings: Sequence[str] = (),
        seed: int = 0,
        image_size: int = 128,
        send_wrist_image: bool = False,
        send_state: bool = False,
    ):
        """Choose what is run; the names of the last two are vla-eval's, a model server sets them by itself.

        Args:
            task: one of `palletlab list tasks`.
            settings: more settings of `palletlab rollout`, such as "robot=ur10e" or "variation=wide".
            seed: of the variants.
            image_size: of the pictures [px].
            send_wrist_image: whether the camera at the wrist is seen besides that over the cell.
            send_state: whether joints and tool are told.

        Raises:
            InputError: a setting that there is not, or that cannot be run.
        """
        super().__init__()
        cameras = "[cell,wrist]" if send_wrist_image else "[cell]"
        given = [f"task={task}", *settings, f"seed={seed}", f"image_size={image_size}", f"cameras={cameras}"]
        self._config = config.load("rollout", given)
        self.settings: Settings = config.settings_of(self._config)
        family = self.settings.family
        wide = family.knobs(max(self.settings.slots, family.least_drawn))
        self._variation = config.variation_of(self._config, wide)
        self._seed, self._send_state = config.whole(self._config, "seed", 0), send_state
        self._simulation: Simulation | None = None
        self._rows: Rows | None = None
        self._verdict: Verdict | None = None
        home = self.settings.layout.arm.home
        self._resting = np.zeros(len(family.action_names), np.float32)
        self._resting[: len(home)] = home

    # ---- what there is -----------------------------------------------------------------------------------------------

    def get_tasks(self) -> list[Task]:
        """Return the whole task, then its stages; only one stage, if the settings name it.

        With each goes what a model server may want to know of the cell.
        """
        family = self.settings.family
        cell = {
            "suite": family.name,
            "robot": self.settings.layout.robot,
            "state_names": list(family.state_names),
            "action_names": list(family.action_names),
            "period": PERIOD,
        }
        chosen = config.stage_of(self._config)
        stages = [{"name": f"{family.name}/{s}", "stage": s, **cell} for s in family.stages if chosen in (None, s)]
        return stages if chosen else [{"name": family.name, "stage": "", **cell}, *stages]

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return what an action consists of."""
        family = self.settings.family
        return action_spec(family.action_names, family.state_names)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return what an observation consists of."""
        state = {"state": RAW} if self._send_state else {}
        return {**dict.fromkeys(self.settings.cameras, IMAGE_RGB), "language": LANGUAGE, **state}

    def get_metric_keys(self) -> dict[str, str]:
        """Return what of an episode's result is summed up; `pieces` is the share that is where it belongs."""
        return {"success": "mean", "pieces": "mean", "seconds": "mean"}

    def get_metadata(self) -> dict[str, Any]:
        """Return what vla-eval wants to know: a task ends by its own time limit."""
        return {"max_steps": LONGEST, "period": PERIOD}

    # ---- an episode --------------------------------------------------------------------------------------------------

    def reset(self, task: Task) -> None:
        """Start the variant `episode_idx` of a task."""
        if self._simulation is None:
            self._simulation = Simulation(self.settings, 1, nthread=1)
        family, number = self.settings.family, int(task.get("episode_idx", 0))
        drawn = family.only_stage(self._variation.sample(self._seed, [number]), task.get("stage") or None)
        self._rows = family.prepare(drawn, self.settings.layout, self.settings.slots, first_only=True)
        self._simulation.task.apply(self._rows, WORLD)
        self._verdict = None

    def step(self, action: Action) -> StepResult:
        """Run one control period.

        Raises:
            InputError: an action of another size.
            RuntimeError: the physics broke: the episode counts as an error, not as a failure of the policy.
        """
        assert self._simulation is not None
        task, values = self._simulation.task, self._values(action)
        reward = float(task.advance(values[None].astype(np.float64), WORLD)[0])
        done, over = (bool(flags[0]) for flags in task.finished(WORLD))
        broken = self._simulation.worlds.broken(WORLD)[0]
        if broken is not None:
            raise RuntimeError(f"broken: {broken}")
        self._recorder.record_step(reward=reward, done=done or over, action=values)
        return StepResult(None, reward, done or over, {})

    def _values(self, action: Action) -> np.ndarray:
        names = self.settings.family.action_names
        values = np.asarray(action.get("actions", ()), np.float32)
        if values.shape != (len(names),):
            hint = "; a server's chunk_size says how much of a chunk it executes" if values.ndim == 2 else ""
            raise InputError(
                f"an action of the shape {values.shape}; wanted are 'actions' of {len(names)} numbers: "
                f"{', '.join(names)}{hint}"
            )
        return values

    def make_obs(self, raw_obs: Any, task: Task) -> Observation:
        """Look at the world."""
        assert self._simulation is not None
        state = self._simulation.task.observe(WORLD)["state"][0]
        pictures = {name: picture[0] for name, picture in self._simulation.render(WORLD).items()}
        self._recorder.record_video(pictures["cell"])
        self._rest(state)
        seen: Observation = {"images": pictures, "task_description": self._simulation.task.instruction(WORLD)[0]}
        return seen | ({"state": state} if self._send_state else {})

    def _rest(self, state: np.ndarray) -> None:
        """Remember the action that holds the arm where it is, tool as it was at the beginning."""
        family = self.settings.family
        places = {name: place for place, name in enumerate(family.state_names)}
        for number, name in enumerate(family.action_names):
            if name in places:
                self._resting[number] = state[places[name]]

    def get_hold_action(self, last_action: Action | None) -> Action:
        """Return what holds the arm in live mode: its last target, or where it stands before there was any."""
        return {"actions": self._resting.copy()} if last_action is None else last_action

    def get_step_result(self, step_result: StepResult) -> EpisodeResult:
        """Judge the world, which is spent by that: success, the reasons why not, and how far the work came."""
        assert self._simulation is not None
        assert self._rows is not None
        seconds = self._seconds()
        if self._verdict is None:
            self._verdict = self._simulation.judge(WORLD)[0]
        verdict, events = self._verdict.to_dict(), self._simulation.task.events[0]
        about = {"row": self._rows.row(0), "events": events, "seconds": seconds, "verdict": verdict}
        done, of = self.settings.family.pieces(about)
        told = {"success": bool(verdict["success"]), "reasons": list(verdict["reasons"])}
        return {**told, "seconds": seconds, "pieces": done / max(of, 1), "done": done, "of": of}

    async def get_time(self) -> float:
        """Return the simulated time since the reset [s]."""
        return self._seconds()

    def _seconds(self) -> float:
        assert self._simulation is not None
        return round(float(self._simulation.task.state.period[0]) * PERIOD, 3)

    def cleanup(self) -> None:
        """Free the renderer."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None
