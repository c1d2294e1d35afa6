"""The processes that train together under torchrun, their devices, signals and random numbers; one alone without it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn

from assets.errors import InputError


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are, as torchrun says; 0 and 1 without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Find the device, and the other processes where torchrun started some."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device!r}: there is no GPU; use device=cpu")
    if kind == "cuda" and "LOCAL_RANK" in os.environ:
        kind = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(kind)
    ours = rank_and_world()[1] > 1 and not distributed.is_initialized()
    if ours:
        distributed.init_process_group("nccl" if kind.startswith("cuda") else "gloo")
    try:
        yield Processes(torch.device(kind))
    finally:
        if ours:
            distributed.destroy_process_group()


class Processes:
    """What the processes tell each other."""

    def __init__(self, device: torch.device) -> None:
        self.rank, self.world = rank_and_world()
        self.device = device

    def agree(self, *values: float) -> list[float]:
        """The first process's values, in all of them."""
        if self.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, 0)
        return tensor.tolist()

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Means over the processes."""
        tensor = torch.stack([value.detach().float().to(self.device) for value in values.values()])
        if self.world > 1:
            distributed.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world).tolist(), strict=True))

    def average_gradients(self, module: nn.Module) -> None:
        """Mean gradients in all processes, in one message."""
        if self.world == 1:
            return
        parameters = [p for p in module.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.world
        for p, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = mean.view_as(p)

    def same_for_all(self, module: nn.Module) -> None:
        """The first process's weights, in all of them."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def gather(self, value: Any) -> list[Any]:
        """Each process's value, by rank."""
        values = [value] * self.world
        if self.world > 1:
            distributed.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def stop_asked() -> Iterator[list[int]]:
    """Signals that asked to stop while within; a second one ends the process as usual."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def handle(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    with contextlib.suppress(ValueError):  # not in the main thread: then nobody can ask
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.getsignal(number)
            signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def random_state(device: torch.device) -> list[Tensor]:
    """Where the random numbers of this process stand, those of the device too."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """Go on with random numbers from where `random_state` found them."""
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)
