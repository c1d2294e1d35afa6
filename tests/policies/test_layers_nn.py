"""The parts of a transformer, and the optimizer that trains them."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from policies.nn.layers import Attention, Feedforward, Modulation, attend, modulate, norm, rotary, turn, waves
from policies.nn.optimizer import make_optimizer


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_rotary_scores_depend_on_distance_alone() -> None:
    query, key = torch.randn(8).double(), torch.randn(8).double()

    def score(at: int, other: int) -> torch.Tensor:
        (c, s), (d, t) = rotary(torch.tensor(at), 8), rotary(torch.tensor(other), 8)
        return turn(query, c, s) @ turn(key, d, t)

    assert torch.allclose(score(5, 2), score(1003, 1000), atol=1e-5)
    assert not torch.allclose(score(5, 2), score(5, 3), atol=1e-3)
    assert torch.allclose(turn(query, *rotary(torch.tensor(7), 8)).norm(), query.norm(), atol=1e-5)


def test_attend_is_softmax_attention() -> None:
    query, key, value = torch.randn(3, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
    mask = torch.zeros(5, 7).masked_fill(torch.rand(5, 7) < 0.4, -torch.inf)
    mask[:, 0] = 0
    expected = nn.functional.scaled_dot_product_attention(query, key, value, mask)
    assert torch.allclose(attend(query, key, value, mask), expected, atol=1e-5)


def test_attention_keeps_to_its_mask() -> None:
    attention = Attention(16, 2)
    nn.init.normal_(attention.outward.weight)
    x = torch.randn(2, 6, 16)
    mask = torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
    turns = rotary(torch.arange(6), 8)
    before = attention(x, mask, turns)
    x[:, 4] += 1.0
    after = attention(x, mask, turns)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_modulation_begins_as_a_plain_norm() -> None:
    x, condition = torch.randn(2, 3, 5, 16), torch.randn(2, 3, 8)
    modulation, offset = Modulation(8, 16, 4), torch.zeros(2, 16)
    scales = modulation(condition)
    assert scales.shape == (4, 2, 2, 3, 16)
    assert torch.allclose(modulate(x, scales[1], offset), norm(x))
    nn.init.normal_(modulation.project.weight)
    scales = modulation(condition)
    offset = torch.stack([torch.full((16,), 0.5), torch.full((16,), 2.0)])
    scale, shift = scales[1]
    expected = norm(x) * (1.5 + scale[:, :, None]) + shift[:, :, None] + 2.0
    assert torch.allclose(modulate(x, scales[1], offset), expected, atol=1e-5)


def test_waves_tell_levels_apart() -> None:
    features = waves(torch.linspace(0, 1, 21), 32)
    apart = torch.cdist(features, features) + 10 * torch.eye(21)
    assert features.shape == (21, 32)
    assert float(apart.min()) > 0.3


class Little(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Linear(4, 16)
        self.blocks = nn.ModuleList([Feedforward(16, 32), Feedforward(16, 32)])
        self.outward = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inward(x)
        for block in self.blocks:
            x = x + block(norm(x))
        return self.outward(x)[:, 0]


def test_optimizer_trains_matrices_of_blocks_with_muon_and_goes_on_from_its_state() -> None:
    module = Little()
    optimizer = make_optimizer(module, 0.01)
    muon, adam = optimizer.parts
    assert {id(p) for g in muon.param_groups for p in g["params"]} == {id(p) for p in module.blocks.parameters()}
    held = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert held == {id(p) for p in module.parameters()}
    assert {id(p) for g in adam.param_groups for p in g["params"]}.isdisjoint(
        {id(p) for p in module.blocks.parameters()}
    )

    x = torch.randn(256, 4)
    y = (x[:, 0] * x[:, 1]).sign()

    def steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            optimizer.zero_grad()
            loss = (module(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    first = steps(module, optimizer, 60)
    assert first[-1] < 0.3 * first[0]
    other = copy.deepcopy(module)
    resumed = make_optimizer(other, 0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [g["lr"] for g in resumed.param_groups] == [0.01, 0.01]
    assert steps(module, optimizer, 3) == steps(other, resumed, 3)

    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.clone() for p in module.parameters()]
    steps(module, optimizer, 1)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
