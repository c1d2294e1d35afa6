"""A checkpoint of ours as a model server of vla-eval: it drives any of its benchmarks that takes joint targets.

    python -m palletlab.vla_eval.server --args.checkpoint FOLDER --address 127.0.0.1:8000

An answer has `actions`, what is to be done now, and `chunk`, all that is decided and not yet executed, one row for each
control period. Every observation is seen, since the video model remembers frames: answers are not buffered here. In
vla-eval's live mode decisions are made by leapfrog in real time (`policies.dva.realtime`): an observation is answered
at once with what is decided; where nothing is, it is not answered, so that vla-eval counts it and holds the arm.

A benchmark of ours says with each task what its numbers are. What any other one calls its cameras, state and action is
said by `cameras`, `state` and `action`.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
from anyio.to_thread import run_sync
from vla_eval.model_servers.base import SessionContext
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import run_server
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW, DimSpec
from vla_eval.types import Action, Observation

from assets.errors import InputError, unknown
from palletlab.learned import LEARNED
from palletlab.vla_eval.wiring import Wiring, action_spec

PATIENCE = 1.0  # [s] that a benchmark waits for its place
FOREVER = sys.maxsize  # [frames] the arm holds until it is told more: nothing here has to be stopped


@dataclasses.dataclass
class Session:
    """One benchmark's connection, during an episode: its wiring, its world, and its loop in live mode."""

    wiring: Wiring
    world: int
    episode: int
    loop: Any = None
    begun: bool = False


class PalletlabServer(PredictModelServer):
    """Serves a checkpoint of the DVA loop, or of a baseline."""

    def __init__(
        self,
        checkpoint: str,
        kind: str = "dva",
        arm: str | None = None,
        cameras: dict[str, str] | None = None,
        state: list[str] | None = None,
        action: list[str] | None = None,
        instruction: str | None = None,
        sessions: int = 1,
        chunk: int | None = None,
        lead: int | None = None,
        steps: int | None = None,
    ):
        """Load it.

        Args:
            checkpoint: its folder.
            kind: "dva" or "baseline".
            arm: arm and tool, by the name in the checkpoint; its first one by default.
            cameras: the benchmark's camera for each of the checkpoint's; of the same name where nothing is said.
            state: names of the numbers of the benchmark's state, in the words of the data that was trained on; by
                default what the benchmark says itself, or else what the checkpoint is told.
            action: names of the numbers of the benchmark's action, likewise.
            instruction: what the checkpoint is to do, one of its texts; by default what the benchmark says.
            sessions: benchmarks that are served at a time, e.g. shards of one evaluation.
            chunk: video frames that a decision covers; as trained by default.
            lead: frames still to be executed when the next decision is made; all of the chunk by default.
            steps: denoising steps.

        Raises:
            InputError: no such checkpoint, or a name that it does not know.
        """
        super().__init__(max_batch_size=sessions)
        from policies.checkpoint import load
        from policies.dva.policy import Cell
        from policies.video.network import Meaning

        if kind not in LEARNED:
            raise unknown("kind of checkpoint", kind, LEARNED)
        if sessions < 1:
            raise InputError(f"sessions = {sessions} must be at least 1")
        folder = Path(checkpoint)
        parts = importlib.import_module(LEARNED[kind])
        seen = parts.summary(folder).cameras
        self._meaning = meaning = Meaning.of(load(folder / "video" if kind == "dva" else folder).about)
        known = {body.name: body for body in meaning.embodiments if body.actions}
        if arm is not None and arm not in known:
            raise unknown("arm of the checkpoint", arm, known)
        if not known:
            raise InputError(f"{folder}: knows no arm; train it on episodes with actions")
        self.body = body = known[arm or next(iter(known))]
        if instruction is not None and instruction not in meaning.texts:
            raise unknown("text of the checkpoint", instruction, meaning.texts)
        for name in cameras or {}:
            if name not in seen:
                raise unknown("camera of the checkpoint", name, seen)
        tools = dict.fromkeys(name.split(".")[0] for name in body.actions if name not in body.positions)
        robot = body.name.removesuffix("".join(f"+{tool}" for tool in tools))
        period = 1.0 / (meaning.rate * meaning.stride)
        cell = Cell(robot, body.proprio, body.actions, seen, period)
        loop = {"chunk": chunk, "lead": lead, "steps": steps}
        self.policy = parts.load(folder, cell, sessions, **{k: v for k, v in loop.items() if v is not None})
        self._cameras: dict[str, str] = {**{name: name for name in seen}, **(cameras or {})}
        self._names, self._instruction = (state, action), instruction
        self._free = list(range(sessions))
        self._sessions: dict[str, Session] = {}
        self._one = threading.Lock()  # one inference at a time

    # ---- what it wants and gives -------------------------------------------------------------------------------------

    def get_observation_params(self) -> dict[str, Any]:
        """Return what benchmarks are asked to send, in vla-eval's words."""
        return {"send_state": True, **({"send_wrist_image": True} if len(self._cameras) > 1 else {})}

    def get_action_spec(self) -> dict[str, DimSpec]:
        """Return what an action consists of."""
        return action_spec(self.body.actions, self.body.proprio)

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """Return what an observation has to have."""
        return {**dict.fromkeys(self._cameras.values(), IMAGE_RGB), "state": RAW, "language": LANGUAGE}

    # ---- episodes ----------------------------------------------------------------------------------------------------

    async def on_episode_start(self, config: dict[str, Any], ctx: SessionContext) -> None:
        """Begin an episode.

        Raises:
            InputError: the benchmark's numbers do not fit, it runs at another rate, or too many are served already.
        """
        from policies.dva.realtime import RealtimeLoop

        await super().on_episode_start(config, ctx)
        await self._end(ctx)
        told = config.get("task") or {}
        period = told.get("period")
        if period is not None and abs(period - self.policy.rhythm.period) > 1e-6:
            raise InputError(
                f"the checkpoint acts every {self.policy.rhythm.period:g} s, the benchmark every {period:g} s"
            )
        state, action = self._names
        names = state or told.get("state_names"), action or told.get("action_names")
        wiring = Wiring.of(self._cameras, self.body.proprio, self.body.actions, *names)
        with anyio.move_on_after(PATIENCE):  # whoever has just ended may not be through with it
            while not self._free:
                await anyio.sleep(0.02)
        if not self._free:
            raise InputError(f"{len(self._sessions)} benchmarks are served already; sessions={{N}} allows more")
        session = Session(wiring, self._free.pop(0), int(told.get("episode_idx", 0)))
        if config.get("mode") == "live":
            session.loop = RealtimeLoop(
                _Seat(self.policy.decider, self._one, session.world), self.policy.rhythm, FOREVER
            )
        else:
            self.policy.reset(np.array([session.world]), np.array([session.episode]))
        self._sessions[ctx.session_id] = session

    async def on_episode_end(self, result: dict[str, Any], ctx: SessionContext) -> None:
        """End an episode, or a connection that broke."""
        await self._end(ctx)
        await super().on_episode_end(result, ctx)

    async def _end(self, ctx: SessionContext) -> None:
        session = self._sessions.pop(ctx.session_id, None)
        if session is None:
            return
        self._free.append(session.world)
        if session.loop is not None:
            counts = session.loop.counts
            logging.getLogger(__name__).info("live: the arm held in %d of %d frames", counts.waits, counts.frames)
            await run_sync(session.loop.close)

    def _session(self, ctx: SessionContext) -> Session:
        if ctx.session_id not in self._sessions:
            raise InputError("an observation without the start of an episode")
        return self._sessions[ctx.session_id]

    # ---- observations ------------------------------------------------------------------------------------------------

    async def on_observation(self, obs: Observation, ctx: SessionContext) -> None:
        """Answer an observation: in live mode at once, otherwise when the decision is made."""
        session = self._session(ctx)
        if session.loop is None:
            await super().on_observation(obs, ctx)
            return
        loop, seen = session.loop, session.wiring.observed(obs)
        senses = self.policy.senses
        if not session.begun:
            loop.begin(senses.holding(seen["state"]), session.episode, senses.task(self._text(obs)))
            session.begun = True
        frame = None
        if loop.at_frame:
            frame = senses.seen({name: values[None] for name, values in seen.items()}, [0])[0]
        order = loop.act(frame)
        if not order.held:
            await ctx.send_action({"actions": session.wiring.action(order.action)})

    def predict_batch(self, obs_batch: list[Observation], ctx_batch: list[SessionContext]) -> list[Action]:
        """Return the next action of each session, and what is decided beyond it."""
        sessions = [self._session(ctx) for ctx in ctx_batch]
        seen = [session.wiring.observed(obs) for session, obs in zip(sessions, obs_batch, strict=True)]
        answers: dict[int, Action] = {}
        with self._one:
            for rows in _alike(seen):
                observation = {name: np.stack([seen[k][name] for k in rows]) for name in seen[rows[0]]}
                observation["instruction"] = np.array([self._text(obs_batch[k]) for k in rows])
                chunks = self.policy.act(observation, np.array([sessions[k].world for k in rows]))
                for k, chunk in zip(rows, chunks, strict=True):
                    decided = sessions[k].wiring.action(chunk)
                    answers[k] = {"actions": decided[0], "chunk": decided}
        return [answers[k] for k in range(len(sessions))]

    def _text(self, obs: Observation) -> str:
        return self._instruction or str(obs.get("task_description", self._meaning.texts[0]))


class _Seat:
    """A decider as the loop of one world has it: loops count their arm as world 0."""

    def __init__(self, decider: Any, one: threading.Lock, world: int):
        self._decider, self._one, self._world = decider, one, world

    def decide(self, questions: Sequence[Any]) -> list[np.ndarray]:
        """Decide for this world; one inference at a time."""
        with self._one:
            return self._decider.decide([dataclasses.replace(q, world=self._world) for q in questions])

    def forget(self, world: int) -> None:
        """Forget this world's frames."""
        with self._one:
            self._decider.forget(self._world)


def _alike(seen: Sequence[dict[str, np.ndarray]]) -> list[list[int]]:
    """Return which observations have pictures of the same size: these go together."""
    groups: dict[Any, list[int]] = {}
    for number, values in enumerate(seen):
        groups.setdefault(tuple((name, v.shape) for name, v in sorted(values.items())), []).append(number)
    return list(groups.values())


def main() -> int:
    """Serve until interrupted."""
    try:
        run_server(PalletlabServer)
    except InputError as error:
        print(f"palletlab.vla_eval: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
