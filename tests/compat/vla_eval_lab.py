"""What the tests with vla-eval share: checkpoints that nobody trained, model servers and a benchmark of a few lines."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vla_eval.benchmarks.base import StepBenchmark, StepResult, repeat_last_hold
from vla_eval.model_servers.base import SessionContext
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW, DimSpec

from palletlab.vla_eval.benchmark import PalletlabBenchmark
from policies.checkpoint import save
from policies.data.statistics import Scale, Statistics
from policies.data.view import View
from policies.embodiment import Embodiment
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

VIEWS = (View("cell", size=16), View("wrist", size=16))
TOY = Embodiment(
    "toy+suction",
    ("joint0.position", "joint1.position"),
    (),
    ("suction.holding",),
    ("joint0.position", "joint1.position", "suction"),
)
TEXTS = ("Go left.", "Go right.")


def checkpoint(folder: Path, body: Embodiment = TOY, texts: tuple[str, ...] = TEXTS) -> Path:
    """Write a checkpoint of tiny networks whose weights are large enough to do something; 10 pictures a second."""
    torch.manual_seed(0)
    proprio, actions = action_widths((body,), 1)
    tokenizer = Autoencoder(16, 2, 4, (2, 2), 16)
    config = VideoConfig(
        width=16, depth=2, heads=2, kv_heads=1, views=2, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8,
        local=4, anchors=1, proprio=proprio, actions=actions, tasks=len(texts), embodiments=1, chunk=2,
    )  # fmt: skip
    statistics = Statistics(*(Scale(torch.zeros(1, n), torch.ones(1, n)) for n in (proprio, actions)))
    network = VideoNetwork(tokenizer, VideoModel(config), Meaning(VIEWS, 10.0, 1, texts, (body,), statistics))
    idm = IDMConfig(("cell", "wrist"), len(body.positions), proprio, actions, 1, 1, 16, 16, 1, 2)
    inverse = InverseDynamics(idm)
    inverse.targets[0, : len(body.actions)] = torch.tensor(body.target_of)
    for parameter in (*network.model.parameters(), *inverse.parameters()):
        parameter.data += 0.05 * torch.randn_like(parameter)
    about = network.about | {"kind": "idm", "config": dataclasses.asdict(idm)}
    save(folder / "video", network.state_dict(), network.about)
    save(folder / "idm", inverse.state_dict(), about)
    return folder


class Says(PredictModelServer):
    """A model server that says the same action again and again, once it is let."""

    def __init__(self, action: np.ndarray, gate: threading.Event | None = None, wrist: bool = False) -> None:
        super().__init__()
        self.action, self.gate, self.wrist = action, gate, wrist
        self.seen: list[dict[str, Any]] = []

    def get_observation_params(self) -> dict[str, Any]:
        return {"send_state": True, "send_wrist_image": self.wrist}

    def get_action_spec(self) -> dict[str, DimSpec]:
        return {}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        return {}

    def predict(self, obs: dict[str, Any], ctx: SessionContext) -> dict[str, Any]:
        self.seen.append(obs)
        assert self.gate is None or self.gate.wait(60)
        return {"actions": self.action}


class Watched(PalletlabBenchmark):
    """Ours; opens a gate at the sixth step and is done two steps after it was told to move on."""

    gate = threading.Event()
    actions: list[np.ndarray] = []  # noqa: RUF012 - vla-eval makes the benchmark

    def step(self, action: dict[str, Any]) -> StepResult:
        self.actions.append(np.asarray(action["actions"]).copy())
        if len(self.actions) == 6:
            self.gate.set()
        result = super().step(action)
        told = sum(float(np.abs(a - self.actions[0]).max()) > 0.1 for a in self.actions)
        return dataclasses.replace(result, done=told >= 2)


class Bench(StepBenchmark):
    """A benchmark of someone else's: other names, another order, an arm that does what it is told.

    It is done after `length` steps, or when it was told `enough` different actions.
    """

    runs: list[Bench] = []  # noqa: RUF012 - vla-eval makes them
    STATE = ("vacuum_ok", "q1", "q0")
    ACTION = ("grip", "q1", "q0")

    def __init__(self, text: str = "Go right.", length: int = 6, enough: int = 999) -> None:
        super().__init__()
        self.text, self.length, self.enough = text, length, enough
        self.observations: list[dict[str, Any]] = []
        self.actions: list[dict[str, Any]] = []
        Bench.runs.append(self)

    def get_tasks(self) -> list[dict[str, Any]]:
        return [{"name": "reach"}]

    def reset(self, task: dict[str, Any]) -> None:
        self.state, self.step_number = np.array([0.0, 0.2, -0.1], np.float32), 0

    def step(self, action: dict[str, Any]) -> StepResult:
        self.actions.append(action)
        self.state = np.concatenate([[0.0], action["actions"][1:]]).astype(np.float32)
        self.step_number += 1
        different = len({tuple(np.round(a["actions"], 6)) for a in self.actions})
        return StepResult(None, 0.0, self.step_number >= self.length or different >= self.enough, {})

    def make_obs(self, raw_obs: object, task: dict[str, Any]) -> dict[str, Any]:
        draw = np.random.default_rng(self.step_number)
        front, hand = (draw.integers(0, 255, (20, 24, 3), np.uint8) for _ in range(2))
        self.observations.append(
            {"images": {"front": front, "hand": hand}, "task_description": self.text, "states": self.state}
        )
        return self.observations[-1]

    def get_step_result(self, step_result: StepResult) -> dict[str, Any]:
        return {"success": step_result.done}

    def get_hold_action(self, last_action: dict[str, Any] | None) -> dict[str, Any]:
        return repeat_last_hold(last_action, 3)

    def get_action_spec(self) -> dict[str, DimSpec]:
        return {}

    def get_observation_spec(self) -> dict[str, DimSpec]:
        return {"front": IMAGE_RGB, "hand": IMAGE_RGB, "state": RAW, "language": LANGUAGE}
