"""A video model too large for one GPU: each process keeps a share of its weights, gradients and optimizer state.

Weights are gathered a block at a time when they are used, and gradients averaged on their way back (FSDP2: Zhao et al.,
arXiv 2304.11277, in torch as `fully_shard`). What is kept on disk is whole, so that a checkpoint does not show how many
processes trained it, and as many as one likes can go on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from assets.errors import InputError
from policies.video.model import Block, VideoModel


def shard(module: nn.Module, bf16: bool) -> None:
    """Share out the video model in `module` among all processes; its weights have to be the same in all of them.

    Only its `loss` can be called from then on, in all processes together.

    Args:
        module: a `VideoNetwork`.
        bf16: gather the blocks' weights in bfloat16, as autocast would use them; gradients are averaged in float32.

    Raises:
        InputError: something else is to be trained, which fits one GPU.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    models = [part for part in module.modules() if type(part) is VideoModel]
    weights = {id(p) for model in models for p in model.parameters()}
    if len(models) != 1 or any(p.requires_grad and id(p) not in weights for p in module.parameters()):
        raise InputError("shard = true is for video models; everything else fits one GPU: leave it out")
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    for block in models[0].blocks:
        assert isinstance(block, Block)
        # A block itself is never called, its parts are: together they are one message.
        fully_shard([block.space, block.time, block.feedforward], mp_policy=policy if bf16 else MixedPrecisionPolicy())
    fully_shard(models[0])
    register_fsdp_forward_method(models[0], "loss")


def gathered(value: Tensor) -> Tensor:
    """Return a tensor put together if it is shared out; in all processes, which all have to ask."""
    return value.full_tensor() if _is_shared(value) else value  # pyright: ignore[reportAttributeAccessIssue]


def whole(values: Any) -> Any:
    """Return dictionaries and lists of tensors with every shared one put together, on the CPU of the first process.

    The others have to ask too, and get empty ones.
    """
    if _is_shared(values):
        full = values.full_tensor()
        return full.cpu() if distributed.get_rank() == 0 else full.new_empty(0)
    if isinstance(values, Mapping):
        return {key: whole(value) for key, value in values.items()}
    return [whole(value) for value in values] if isinstance(values, list) else values


def like(values: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors shared out as those of the same name are; in all processes."""
    return {name: _as(value, others[name]) if name in others else value for name, value in values.items()}


def share_state(optimizer: Optimizer) -> None:
    """Share out an optimizer's state, loaded whole, as its parameters are; in all processes."""
    for part in getattr(optimizer, "parts", [optimizer]):
        for parameter, state in part.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = _as(value, parameter)


def _is_shared(value: Any) -> bool:
    return hasattr(value, "full_tensor")  # a DTensor: torch takes a second to import that, which few need


def _as(value: Tensor, other: Any) -> Tensor:
    if not _is_shared(other) or _is_shared(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
