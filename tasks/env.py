"""The tasks as Gymnasium environments, one world or many: `palletlab/Palletizing-v0`, and each stage of a task alone.

Actions come at 10 Hz: six joint targets [rad], then the tool (for the suction gripper, on above 0.5). Observations are
dictionaries of float32 vectors, `state` and `environment_state`, whose numbers the task family names, and a picture for
each camera asked for. The vector environment resets by Gymnasium's NEXT_STEP rule: the step after an episode's end
ignores the action, returns the new episode's first observation, reward 0 and no end. `autoreset_mode="SameStep"` resets
within the step instead and hands the last observation and info over as `final_obs` and `final_info`.

The info of an episode's end says `success`, `reasons` (a list of lines) and `seconds`, and `broken` (why) where the
physics could not be trusted any more; each with its mask, as Gymnasium has it: `_success`, ...
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from assets.errors import InputError, unknown
from sim.cell import PERIOD
from sim.knobs import Rows
from sim.variations import Variation
from tasks.families import FAMILIES, family, variation_named
from tasks.simulation import Settings, Simulation, Source

MODES = {"NextStep": AutoresetMode.NEXT_STEP, "SameStep": AutoresetMode.SAME_STEP}


def spaces(settings: Settings) -> tuple[gym.spaces.Dict, gym.spaces.Box]:
    """Return one world's observation and action space."""
    task = settings.family
    unbounded = {"state": len(task.state_names), "environment_state": len(task.surroundings_names(settings.slots))}
    seen: dict[str, gym.Space] = {
        name: gym.spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in unbounded.items()
    }
    size = settings.image_size
    for camera in settings.cameras:
        seen[camera] = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
    low, high = (bound.astype(np.float32) for bound in task.action_bounds(settings.layout))
    return gym.spaces.Dict(seen), gym.spaces.Box(low, high, dtype=np.float32)


class TaskVectorEnv(gym.vector.VectorEnv):
    """A task in `num_envs` worlds at once."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str | None = None,
        stage: str | None = None,
        settings: Settings | None = None,
        variation: Variation | None = None,
        variants: Rows | None = None,
        seed: int = 0,
        nthread: int = 0,
        autoreset_mode: str | AutoresetMode = "NextStep",
        render_mode: str | None = None,
    ):
        """Make the environment.

        Args:
            num_envs: worlds.
            task: name of the task family; palletizing, or that of the settings.
            stage: runs only this stage of the task.
            settings: cell, slots and cameras.
            variation: to draw worlds from; the task's nominal one by default.
            variants: a table of rows, ready to run, to be taken in turn instead.
            seed: of the variation, unless `reset(seed=...)` says otherwise.
            nthread: CPU threads, 0 for all cores.
            autoreset_mode: "NextStep" or "SameStep".
            render_mode: "rgb_array" lets `render()` return the first camera's pictures.
        """
        mode = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        if mode not in MODES:
            raise unknown("autoreset_mode", str(mode), MODES)
        if render_mode not in (None, "rgb_array"):
            raise unknown("render_mode", str(render_mode), ["rgb_array"])
        self.settings = settings or Settings(task or "palletizing", cameras=("cell",) if render_mode else ())
        if task not in (None, self.settings.task):
            raise InputError(f"task = {task!r}, but the settings are for {self.settings.task!r}")
        self.settings.family.check_stage(stage)
        if render_mode and not self.settings.cameras:
            raise InputError("render_mode='rgb_array' wants a camera in settings.cameras")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = {"autoreset_mode": MODES[mode], "render_modes": ["rgb_array"], "render_fps": 10}
        self.single_observation_space, self.single_action_space = spaces(self.settings)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.simulation = Simulation(self.settings, num_envs, nthread)
        self._variation, self._table, self._stage, self._seed = variation, variants, stage, seed
        self._source: Source | None = None
        self._all = np.arange(num_envs)
        self._ended = np.zeros(num_envs, dtype=bool)
        self._numbers = np.zeros(num_envs, dtype=np.int64)

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _make_source(self, seed: int) -> Source:
        if self._table is not None:
            return Source(self.settings, table=self._table, stage=self._stage)
        variation = self._variation or variation_named("nominal", self.settings.knobs, self.settings.task)
        return Source(self.settings, variation, seed, stage=self._stage)

    def _begin(self, ids: np.ndarray) -> None:
        assert self._source is not None
        self.simulation.task.apply(self._source.rows(self._numbers[ids]), ids)

    # ---- Gymnasium ---------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start all worlds afresh on variants 0 … num_envs-1; `options={"variants": [...]}` names others."""
        if isinstance(seed, list):
            raise InputError("reset(seed=...) takes one number: worlds differ by their variant, not by a seed")
        self._seed = self._seed if seed is None else int(seed)
        self._source = self._make_source(self._seed)
        numbers = (options or {}).get("variants")
        self._numbers = self._all.copy() if numbers is None else np.asarray(numbers, dtype=np.int64)
        if self._numbers.shape != (self.num_envs,):
            raise InputError(f"options['variants'] wants {self.num_envs} numbers, got shape {self._numbers.shape}")
        if (self._numbers < 0).any():
            raise InputError(f"options['variants'] counts from 0, got {self._numbers.min()}")
        super().reset(seed=seed)
        self._begin(self._all)
        self._ended[:] = False
        return self._observe(self._all), self._variants()

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Run one control period of 0.1 s in every world; a target that is not finite holds the joint where it is."""
        if self._source is None:
            raise InputError("call reset() before step()")
        actions = np.asarray(actions, dtype=np.float32).astype(np.float64)
        if actions.shape != self.action_space.shape:
            raise InputError(f"step() wants actions of shape {self.action_space.shape}, got {actions.shape}")
        if self._ended.any():
            self._next_variant(self._all[self._ended])
        reward, terminated, truncated = np.zeros((3, self.num_envs))
        terminated, truncated = terminated.astype(bool), truncated.astype(bool)
        running = self._all[~self._ended]
        broken: dict[int, str] = {}
        if len(running):
            reward[running] = self.simulation.task.advance(actions[running], running)
            terminated[running], truncated[running] = self.simulation.task.finished(running)
            for i, why in zip(running.tolist(), self.simulation.worlds.broken(running), strict=True):
                if why is not None:  # the world starts afresh on another row
                    broken[i], terminated[i], truncated[i] = why, False, True
        ended, info = terminated | truncated, self._variants()
        if ended.any():
            info |= self._final_info(ended, broken)
            if self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
                info = self._restart(ended, info)
        self._ended = ended & (self.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP)
        return self._observe(self._all), reward, terminated, truncated, info

    def _variants(self) -> dict[str, np.ndarray]:
        return {"variant": self._numbers.copy(), "_variant": np.ones(self.num_envs, dtype=bool)}

    def _restart(self, ended: np.ndarray, final: dict[str, Any]) -> dict[str, Any]:
        """Reset the worlds that ended, as SAME_STEP has it; return the info with what they ended with."""
        ids = self._all[ended]
        # Only these: every look draws sensor noise, and another world's must not depend on this one's end.
        last = self._observe(ids)
        seen = np.full(self.num_envs, None, dtype=object)
        for k, i in enumerate(ids):
            seen[i] = {name: values[k] for name, values in last.items()}
        self._next_variant(ids)
        final["_variant"] = ended.copy()
        return self._variants() | {
            "final_obs": seen, "_final_obs": ended.copy(), "final_info": final, "_final_info": ended.copy()
        }  # fmt: skip

    def _next_variant(self, ids: np.ndarray) -> None:
        """World i runs the variants i, i + num_envs, i + 2 num_envs, ..."""
        self._numbers[ids] += self.num_envs
        self._begin(ids)

    def _final_info(self, ended: np.ndarray, broken: dict[int, str]) -> dict[str, Any]:
        """Judge the worlds that ended and are sound; say of each how it ended."""
        success = np.zeros(self.num_envs, dtype=bool)
        reasons = np.full(self.num_envs, None, dtype=object)
        why = np.full(self.num_envs, None, dtype=object)
        sound = np.array([i for i in self._all[ended] if int(i) not in broken], dtype=np.int64)
        seconds = self.simulation.task.state.period * PERIOD
        for i, verdict in zip(sound, self.simulation.judge(sound) if len(sound) else [], strict=True):
            success[i], reasons[i] = verdict.success, list(verdict.reasons)
        for i, text in broken.items():
            reasons[i], why[i] = [f"broken: {text}"], text
        info = {
            "success": success, "_success": ended.copy(), "reasons": reasons, "_reasons": ended.copy(),
            "seconds": np.where(ended, seconds, 0.0), "_seconds": ended.copy(),
        }  # fmt: skip
        return info | ({"broken": why, "_broken": np.isin(self._all, list(broken))} if broken else {})

    def _observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Observe the worlds `ids`; what is not finite in a broken one reads 0, lest it spoils a learner's batch."""
        seen = self.simulation.task.observe(ids)
        seen = {name: np.where(np.isfinite(values), values, np.float32(0.0)) for name, values in seen.items()}
        return seen | self.simulation.render(ids)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return the first camera's picture of every world."""
        if self.render_mode is None:
            return None
        return tuple(self.simulation.render(self._all)[self.settings.cameras[0]])

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        self.simulation.close()


class TaskEnv(gym.Env):
    """One world of `TaskVectorEnv`, for what wants a plain environment."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, render_mode: str | None = None, **settings: Any):
        """Take the arguments of `TaskVectorEnv`, except `num_envs` and `autoreset_mode`."""
        self._vector = TaskVectorEnv(1, render_mode=render_mode, **settings)
        self.render_mode = render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start the next variant (the first one when a seed is given)."""
        self._episode = 0 if seed is not None else self._episode
        super().reset(seed=seed)
        wanted = (options or {}).get("variant", self._episode)
        observation, info = self._vector.reset(seed=seed, options={"variants": [wanted]})
        self._episode = int(wanted) + 1
        return {k: v[0] for k, v in observation.items()}, {"variant": int(info["variant"][0])}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Run one control period."""
        observation, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        first: dict[str, Any] = {"variant": int(info["variant"][0])}
        if terminated[0] or truncated[0]:
            first |= {"success": bool(info["success"][0]), "reasons": info["reasons"][0]}
        return (
            {k: v[0] for k, v in observation.items()}, float(reward[0]), bool(terminated[0]), bool(truncated[0]), first
        )  # fmt: skip

    def render(self) -> np.ndarray | None:
        """Return the first camera's picture."""
        pictures = self._vector.render()
        return None if pictures is None else pictures[0]

    def close(self) -> None:
        """Free the renderer."""
        self._vector.close()


def register() -> None:
    """Make `gymnasium.make("palletlab/Palletizing-v0")` and `gymnasium.make_vec(...)` work, for tasks and stages."""
    for name in FAMILIES:
        task = family(name)
        for stage in (None, *task.stages):
            if task.environment_id(stage) not in gym.registry:
                gym.register(
                    task.environment_id(stage),
                    entry_point="tasks.env:TaskEnv",
                    vector_entry_point="tasks.env:TaskVectorEnv",
                    disable_env_checker=True,
                    kwargs={"task": name, "stage": stage},
                )
