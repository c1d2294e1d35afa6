"""The training loop: one for every kind of network, on one processor or under torchrun, resumed where it stopped.

    batches = Batches(windows, Sampler(len(windows), batch=8, seed=0))
    train(learner, batches, TrainSettings(steps=1000), Path("outputs/train/x"))

A checkpoint (`folder/last`) holds the averaged weights and all that is needed to go on: weights, optimizer, random
numbers, the sampler's position. On a CPU a training that was interrupted goes on as if it had not been, to the bit.

Under torchrun every process has a share of each batch; gradients are averaged by hand after the backward pass: a
learner may then use its modules as it likes, and parameters that had no part in a step are no special case. With
`shard`, for a video model that one GPU cannot hold, it is FSDP2 that averages them (`policies.sharding`).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import math
import pickle
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from assets.errors import InputError
from policies.checkpoint import LAST, find, save
from policies.data.windows import Batch, Batches
from policies.ema import Average
from policies.processes import Processes, processes, random_state, set_random_state, stop_asked
from policies.sharding import gathered, like, shard, share_state, whole

RESUME = "resume.pt"
SCHEDULES = ("cosine", "linear", "constant")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: how many; 0 for as many as `minutes` allow.
        minutes: at most so long, interruptions not counted; 0 for no limit. Whatever ends first ends the training.
        lr: learning rate at its highest.
        warmup: steps in which it rises from 0.
        schedule: how it then falls until the end: "cosine", "linear" or "constant".
        final: what is left of it at the end, as a share.
        clip: largest norm of the gradient; 0 for no limit.
        ema: share of the averaged weights that each step keeps, lower in the beginning; 0 for the weights themselves.
        bf16: whether matrix products are in bfloat16 (autocast).
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        seed: of the random numbers that learners draw.
        log_every: steps between two entries in TensorBoard.
        sample_every: steps between two samples and tests; 0 for none.
        save_minutes: between two checkpoints.
        keep_every: steps between two checkpoints that are kept as `step-<number>`; 0 for none.
        shard: whether the processes share out a video model among them, instead of each having all of it.
    """

    steps: int = 0
    minutes: float = 0.0
    lr: float = 1e-3
    warmup: int = 100
    schedule: str = "cosine"
    final: float = 0.05
    clip: float = 1.0
    ema: float = 0.999
    bf16: bool = False
    device: str = "auto"
    seed: int = 0
    log_every: int = 20
    sample_every: int = 0
    save_minutes: float = 10.0
    keep_every: int = 0
    shard: bool = False

    def __post_init__(self) -> None:
        """Refuse a training without an end."""
        if self.steps <= 0 and self.minutes <= 0:
            raise InputError(f"training of {self.steps} steps and {self.minutes} minutes: give one of the two")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule {self.schedule!r}: known are {', '.join(SCHEDULES)}")


class Learner(Protocol):
    """What is trained: a module, its loss, and what its checkpoint says about it."""

    @property
    def module(self) -> nn.Module:
        """What has the weights."""
        ...

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The "loss" to be minimized, a mean over the batch, and its parts."""
        ...

    def optimizer(self, lr: float) -> Optimizer:
        """An optimizer of the module."""
        ...

    def about(self) -> dict[str, Any]:
        """Kind, config, statistics, embodiments, views: what the checkpoint says."""
        ...

    def sample(self, batch: Batch, writer: SummaryWriter, step: int) -> None:
        """Show in TensorBoard what the module makes of a batch."""
        ...


def train(
    learner: Learner,
    batches: Batches,
    settings: TrainSettings,
    folder: Path,
    resume: bool = False,
    tests: Sequence[Batch] = (),
) -> dict[str, Any]:
    """Train until the steps or the minutes are over, or a signal asks to stop.

    Args:
        learner: what is trained; with `resume` its weights are replaced.
        batches: this process's share; without end.
        settings: how.
        folder: for checkpoints and TensorBoard.
        resume: go on from the newest checkpoint in the folder, if there is one.
        tests: batches that are not trained on; their mean loss under the averaged weights is shown with the samples.

    Returns:
        step, seconds (of training, all sessions), windows_per_second, stopped ("steps", "minutes" or "signal"),
        checkpoint (folder), loss and test_loss (the last), history ([step, loss] of each entry).

    Raises:
        InputError: a loss that is not finite, or a folder that holds a training although not resumed.
    """
    folder = Path(folder)
    with processes(settings.device) as group, stop_asked() as asked:
        state = _State(learner, batches, settings, group)
        if any(folder.glob(LAST + "*")):
            if not resume:
                raise InputError(f"{folder}: holds a training already; resume it, or name a new folder")
            state.restore(find(folder / LAST) / RESUME)
        with _writer(folder, group, state.step) as writer:
            return _loop(state, tests, folder, writer, asked)


def _loop(
    state: _State, tests: Sequence[Batch], folder: Path, writer: SummaryWriter | None, asked: list[int]
) -> dict[str, Any]:
    settings, group = state.settings, state.processes
    history: list[list[float]] = []
    result: dict[str, Any] = {"stopped": ""}
    begun, before = time.monotonic(), state.seconds
    first, saved, shown = state.step, begun, begun
    while True:
        # The first process's clock and signals decide for all, so that all stop and save at the same step.
        seconds, stop, due = group.agree(
            before + time.monotonic() - begun,
            float(bool(asked)),
            float(time.monotonic() - saved > 60 * settings.save_minutes),
        )
        state.seconds = seconds
        done = max(
            state.step / settings.steps if settings.steps else 0.0,
            seconds / (60 * settings.minutes) if settings.minutes else 0.0,
        )
        if done >= 1 or stop:
            by_steps = settings.steps and state.step >= settings.steps
            result["stopped"] = "steps" if by_steps else "signal" if stop else "minutes"
            break
        if due:
            state.save(folder / LAST)
            saved = time.monotonic()

        parts, norm = state.advance(done)
        if state.step % settings.log_every == 0 or state.step == first + 1:
            values = group.mean({**parts, "gradient": norm})
            _check_finite(values["loss"], state.step, folder)
            history.append([state.step, values["loss"]])
            speed = (state.step - first) * state.windows_per_step / max(time.monotonic() - begun, 1e-9)
            if writer:
                for name, value in {**values, "lr": state.lr, "windows_per_second": speed}.items():
                    writer.add_scalar(f"train/{name}", value, state.step)
                if time.monotonic() - shown > 10.0:
                    shown = time.monotonic()
                    _show(state, values["loss"], speed, done)
        if settings.sample_every and state.step % settings.sample_every == 0:
            result |= state.look(tests, writer)
        if settings.keep_every and state.step % settings.keep_every == 0:
            state.save(folder / f"step-{state.step:07d}", resumable=False)

    if tests:
        result |= state.look(tests, None)
    state.save(folder / LAST)
    rate = (state.step - first) * state.windows_per_step / max(time.monotonic() - begun, 1e-9)
    numbers = {"step": state.step, "seconds": state.seconds, "windows_per_second": rate, "history": history}
    loss = {"loss": history[-1][1]} if history else {}
    return {**numbers, **loss, **result, "checkpoint": str(folder / LAST)}


def rate_at(settings: TrainSettings, step: int, done: float) -> float:
    """The learning rate at a step, as a share of its highest; `done` is the share of the training that is over."""
    fall = {"cosine": 0.5 + 0.5 * math.cos(math.pi * done), "linear": 1 - done, "constant": 1.0}[settings.schedule]
    rise = min((step + 1) / settings.warmup, 1.0) if settings.warmup else 1.0
    return rise * (settings.final + (1 - settings.final) * fall)


class _State:
    """All that changes while training, and how to keep it."""

    def __init__(self, learner: Learner, batches: Batches, settings: TrainSettings, group: Processes) -> None:
        self.learner, self.batches, self.settings, self.processes = learner, batches, settings, group
        self.step, self.seconds, self.lr = 0, 0.0, 0.0
        self.batch: Batch | None = None  # the last
        self.windows_per_step = batches.sampler.batch * group.world
        learner.module.to(group.device).train()
        group.same_for_all(learner.module)
        self.shown: Any = learner  # whose samples and tests are shown
        if settings.shard:
            if group.world == 1:
                raise InputError("shard = true shares a model out among processes: start several, with torchrun")
            if group.rank == 0:
                self.shown = copy.copy(learner)
                self.shown.module = copy.deepcopy(learner.module)
            shard(learner.module, settings.bf16)
        self.optimizer = learner.optimizer(settings.lr)
        for part in self.optimizer.param_groups:
            part.setdefault("initial_lr", part["lr"])
        self.average = Average(learner.module, settings.ema)
        torch.manual_seed(settings.seed * 1000 + group.rank)

    def advance(self, done: float) -> tuple[dict[str, Tensor], Tensor]:
        """One step; returns the loss with its parts, and the gradient's norm."""
        settings, module = self.settings, self.learner.module
        batch = self.batch = next(self.batches).to(self.processes.device)
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=settings.bf16):
            parts = self.learner.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        if not settings.shard:
            self.processes.average_gradients(module)
        norm = gathered(nn.utils.clip_grad_norm_(module.parameters(), settings.clip or float("inf")))
        share = rate_at(settings, self.step, done)
        self.lr = settings.lr * share
        for part in self.optimizer.param_groups:
            part["lr"] = part["initial_lr"] * share
        self.optimizer.step()
        self.step += 1
        self.average.update(module, self.step)
        return {name: value.detach() for name, value in parts.items()}, norm

    def look(self, tests: Sequence[Batch], writer: SummaryWriter | None) -> dict[str, float]:
        """Test and sample with the averaged weights; the random numbers of training are not touched."""
        weights = self._averaged() if self.settings.shard else {}
        if self.processes.rank:
            return {}
        device = self.processes.device
        devices = [device] if device.type == "cuda" else []
        learner, result = self.shown, {}
        if weights:
            learner.module.load_state_dict(weights)
        averaged = contextlib.nullcontext() if weights else self.average.in_place_of(learner.module)
        with torch.random.fork_rng(devices), averaged, torch.no_grad():
            torch.manual_seed(0)
            learner.module.eval()
            if tests:
                autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.settings.bf16)
                with autocast:
                    losses = [float(learner.loss(batch.to(device))["loss"]) for batch in tests]
                result["test_loss"] = sum(losses) / len(losses)
                if writer:
                    writer.add_scalar("test/loss", result["test_loss"], self.step)
            shown = tests[0].to(device) if tests else self.batch
            if writer and shown:
                learner.sample(shown, writer, self.step)
            learner.module.train()
        return result

    def _averaged(self) -> dict[str, Tensor]:
        """The averaged weights by name, put together if they are shared out; with what is not averaged as it is."""
        return whole({**self.learner.module.state_dict(), **self.average.values})

    def save(self, folder: Path, resumable: bool = True) -> None:
        """Write a checkpoint of the averaged weights; `resumable` with all that is needed to go on."""
        random = self.processes.gather(random_state(self.processes.device))
        weights = self._averaged()
        state = (self.learner.module.state_dict(), self.optimizer.state_dict(), self.average.values)
        module, optimizer, average = (whole(values) if resumable else {} for values in state)
        if self.processes.rank:
            return
        extra = {}
        if resumable:
            everything = {
                "module": module,
                "optimizer": optimizer,
                "average": average,
                "random": random,
                "position": self.batches.position,
                "windows": len(self.batches.windows),
                "step": self.step,
                "seconds": self.seconds,
            }
            buffer = io.BytesIO()
            torch.save(everything, buffer)
            extra[RESUME] = buffer.getvalue()
        about = self.learner.about()
        provenance = {
            **about.get("provenance", {}),
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "windows_per_step": self.windows_per_step,
            "training": dataclasses.asdict(self.settings),
            "datasets": [{"name": Path(p.root).name, "hash": p.hash} for p in self.batches.windows.prepared],
            "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        }
        save(folder, weights, {**about, "provenance": provenance}, extra)

    def restore(self, path: Path) -> None:
        """Go on from what `save` wrote."""
        try:
            # What is shared out is read on the CPU: one GPU need not hold it.
            device = "cpu" if self.settings.shard else self.processes.device
            kept: Mapping[str, Any] = torch.load(path, map_location=device, weights_only=True)
            own = self.learner.module.state_dict()
            self.learner.module.load_state_dict(like(kept["module"], own))
            self.optimizer.load_state_dict(kept["optimizer"])
            share_state(self.optimizer)
            self.average.values = like(kept["average"], own)
        except (OSError, RuntimeError, KeyError, ValueError, EOFError, pickle.UnpicklingError) as error:
            line = (str(error).splitlines() or [repr(error)])[0]
            raise InputError(
                f"{path}: does not fit what is to be trained ({line}); resume with its settings"
            ) from error
        there, now = kept["windows"], len(self.batches.windows)
        if there != now:
            raise InputError(f"{path}: was trained on {there} windows, now there are {now}; resume with the same data")
        self.step, self.seconds = kept["step"], kept["seconds"]
        self.batches.restore(kept["position"])
        if len(kept["random"]) == self.processes.world:  # otherwise others take other shares: nothing to go on with
            set_random_state(kept["random"][self.processes.rank], self.processes.device)


@contextlib.contextmanager
def _writer(folder: Path, group: Processes, step: int) -> Iterator[SummaryWriter | None]:
    """TensorBoard's writer in the first process; entries after `step` are those of a run that was interrupted."""
    if group.rank:
        yield None
        return
    with SummaryWriter(str(folder), purge_step=step + 1 if step else None) as writer:
        yield writer


def _check_finite(loss: float, step: int, folder: Path) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"loss is {loss} at step {step}: the training diverged; use a smaller lr. The checkpoint in "
            f"{folder / LAST} is of before"
        )


def _show(state: _State, loss: float, speed: float, done: float) -> None:
    left = state.seconds * (1 / done - 1) / 60 if done > 0 else float("nan")
    print(
        f"step {state.step} ({done:.0%})  loss {loss:.4f}  {speed:.1f} windows/s  {left:.0f} min left",
        file=sys.stderr,
        flush=True,
    )
