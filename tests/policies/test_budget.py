"""The budget's formulas, against the real network, torch's counter of arithmetic, and what autograd really keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from assets.errors import InputError
from policies import budget
from policies.nn.optimizer import make_optimizer
from policies.video.condition import Condition
from policies.video.model import VideoConfig, VideoModel

RECIPES = Path(__file__).parents[2] / "conf" / "recipe"


def config(name: str = "nano") -> VideoConfig:
    return budget.config_of(yaml.safe_load((RECIPES / f"{name}.yaml").read_text()), 16, 7)


# Besides nano itself, one in which no two numbers are alike.
ODD = VideoConfig(
    width=48, depth=3, heads=6, kv_heads=2, hidden=3, views=3, tokens=5, latent=11, context=9, local=4, far=2,
    anchors=2, proprio=13, actions=17, tasks=4, embodiments=3, text=7,
)  # fmt: skip


@pytest.mark.parametrize("c", [config(), ODD])
def test_parameters(c: VideoConfig) -> None:
    model = VideoModel(c)
    assert sum(budget.parameters(c).values()) == model.parameters_count
    assert budget.parameters(c)["blocks"] == sum(p.numel() for p in model.blocks.parameters())
    assert budget.parameters(c)["condition"] == sum(p.numel() for p in model.condition.parameters())


@pytest.mark.parametrize(("c", "frames"), [(config(), 8), (dataclasses.replace(ODD, text=0), 6)])
def test_arithmetic_of_training(c: VideoConfig, frames: int) -> None:
    model, (latents, condition) = VideoModel(c), budget.example(c, 1, frames)
    with FlopCounterMode(display=False) as forward:
        loss = model.loss(latents, condition)["loss"]
    assert budget.flops_of_loss(c, frames) == forward.get_total_flops()
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    # Inputs need no gradient: a little less than twice as much.
    assert backward.get_total_flops() == pytest.approx(2 * forward.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("c", [dataclasses.replace(config(), context=12, local=5), dataclasses.replace(ODD, text=0)])
def test_arithmetic_and_memory_of_a_stream(c: VideoConfig) -> None:
    model, spare = VideoModel(c).requires_grad_(False), 3
    cache = model.cache(1, spare)
    assert cache.bytes == budget.bytes_of_stream(c, spare, width=4)
    latents, whole = budget.example(c, 1, c.context + c.anchors + 1)
    for frame in range(latents.shape[1]):
        here = slice(frame, frame + 1)
        model.step(latents[:, here], torch.zeros(1), whole.frames(here), cache, write=True)
    ahead = Condition(whole.task, whole.embodiment, actions=torch.zeros(1, 1, c.actions))
    with FlopCounterMode(display=False) as counted:
        model.step(latents[:, :1], torch.ones(1), ahead, cache)
    assert budget.flops_of_step(c, spare) == counted.get_total_flops()


def test_memory_of_training() -> None:
    c = ODD
    model, (latents, condition) = VideoModel(c), budget.example(c, 1, 6)
    optimizer = make_optimizer(model, 1e-3)
    model.loss(latents, dataclasses.replace(condition, text=torch.zeros(1, c.text)))["loss"].backward()
    model.loss(latents, condition)["loss"].backward()
    optimizer.step()
    state = [t for part in optimizer.parts for s in part.state.values() for t in s.values() if t.numel() > 1]
    kept = sum(4 * t.numel() for t in [*state, *model.parameters()]) + sum(4 * p.numel() for p in model.parameters())
    gradients = sum(4 * p.grad.numel() for p in model.parameters() if p.grad is not None)
    assert budget.bytes_of_state(c) == kept + gradients


@pytest.mark.parametrize("bf16", [False, True])
def test_what_the_backward_pass_keeps_is_counted_without_running_it(bf16: bool) -> None:
    c = dataclasses.replace(config(), width=64, far=3)
    real = budget.counted(c, 6, bf16, fake=False)
    assert budget.counted(c, 6, bf16) == real
    assert budget.bytes_kept(c, 6, bf16) == real
    assert real > 6 * c.views * c.tokens * c.width * 2 * c.depth


@pytest.mark.parametrize(("name", "gpus"), [("nano", 1), ("large", 64)])
def test_every_recipe_has_a_budget(name: str, gpus: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert budget.main([str(RECIPES / f"{name}.yaml"), "--gpus", str(gpus)]) == 0
    told = capsys.readouterr().out
    assert f"{sum(budget.parameters(config(name)).values()) / 1e6:,.1f} M" in told
    assert "assumed" in told


def test_large_fits_its_gpus() -> None:
    c = config("large")
    assert c.context >= 256
    most = budget.bytes_of_state(c) / 64 + budget.bytes_gathered(c) + budget.bytes_kept(c, 64, False)
    assert most < 141e9  # an H200
    alone = budget.bytes_of_state(c) + budget.bytes_kept(c, 64, False)
    assert alone > 141e9  # without sharing them out


def test_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("views: []\n")
    for wrong, says in (
        ([str(tmp_path / "none.yaml")], "is no recipe"),
        ([str(tmp_path / "r.yaml")], "a recipe has views, autoencoder and transformer"),
        ([str(RECIPES / "large.yaml"), "--gpus", "7"], "not shared out evenly among 7 GPUs"),
    ):
        assert budget.main(wrong) == 2
        assert says in capsys.readouterr().err
    recipe = yaml.safe_load((RECIPES / "nano.yaml").read_text())
    with pytest.raises(InputError, match="unknown setting 'depht'"):
        budget.config_of({**recipe, "transformer": {"depht": 3}}, 1, 1)
