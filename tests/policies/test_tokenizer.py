"""The tokenizer: shapes, statistics, what it looks at, and that it learns what moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies_lab import little_dataset

from assets.errors import InputError
from policies.checkpoint import load, save
from policies.data.frames import prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Windows
from policies.nn.optimizer import make_optimizer
from policies.video.learner import TokenizerLearner
from policies.video.network import Meaning, load_tokenizer
from policies.video.tokenizer import Autoencoder, standing_out


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("pack", "tokens", "dim"), [((2, 2), 4, 16), ((2, 4), 2, 32), ((1, 1), 16, 4)])
def test_pictures_become_tokens_and_pictures_again(pack: tuple[int, int], tokens: int, dim: int) -> None:
    tokenizer = Autoencoder(size=32, channels=4, pack=pack, width=16).eval()
    assert (tokenizer.tokens, tokenizer.dim) == (tokens, dim)
    pictures = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8)
    latents = tokenizer.encode(pictures)
    assert latents.shape == (2, 3, tokens, dim)
    assert torch.allclose(latents, tokenizer.encode(pictures.float() / 255), atol=1e-5)
    assert torch.allclose(latents[1, 2], tokenizer.encode(pictures[1, 2]), atol=1e-4)
    assert tokenizer.decode(latents).shape == pictures.shape
    assert tokenizer.pictures(latents).dtype == torch.uint8


def test_packing_only_rearranges() -> None:
    one, other = (Autoencoder(size=32, channels=4, pack=pack, width=16).eval() for pack in ((1, 1), (2, 4)))
    other.load_state_dict(one.state_dict())
    pictures = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    latents = one.encode(pictures)
    assert torch.equal(latents.flatten().sort().values, other.encode(pictures).flatten().sort().values)
    assert torch.equal(one.decode(latents), other.decode(other.encode(pictures)))
    # A token holds neighbours: two rows of four.
    patch = latents.view(2, 4, 4, 4)[:, 2:, :].permute(0, 3, 1, 2).flatten(1)
    assert torch.equal(other.encode(pictures)[:, 1], patch)


def test_what_moves_or_differs_stands_out() -> None:
    pictures = torch.full((6, 4, 16, 16, 3), 0.4)
    for window in range(6):
        for t in range(4):
            pictures[window, t, 4:8, 2 * window + t : 2 * window + t + 3] = 0.9
    weight = standing_out(pictures)
    assert weight.shape == (6, 4, 16, 16)
    assert float(weight[2, 1, 4:8, 5:8].min()) > 0.8
    assert float(weight[:, :, 12:].max()) == 0.0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"down": 6}, "down = 6 must be a power of two"),
        ({"size": 60}, "divides size = 60"),
        ({"pack": (3, 2)}, "8 x 8 latents do not divide into tokens of 3 x 2"),
        ({"width": 20}, "width = 20 must be a multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit(settings: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Autoencoder(**settings)  # pyright: ignore[reportArgumentType]


def test_pictures_of_another_size() -> None:
    with pytest.raises(InputError, match=r"64 x 64 pixels are wanted, not 32 x 32"):
        Autoencoder().encode(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))


def test_learns_what_moves_and_is_kept(tmp_path: Path) -> None:
    """A few seconds on the little cell; the block and the carton are far better than a picture without them."""
    data = LeRobotDataset(little_dataset(tmp_path / "data", episodes=3, length=24))
    views = (View("cell", size=32), View("wrist", size=32))
    windows = Windows([prepare(data, views, 10.0, tmp_path / "cache")], length=2)
    meaning = Meaning(views, 10.0, 2, windows.texts, windows.embodiments, Statistics.of(windows))
    learner = TokenizerLearner(Autoencoder(size=32, width=24), meaning)
    optimizer = make_optimizer(learner.module, 3e-3)
    rng, parts = np.random.default_rng(0), {}
    for step in range(80):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 10, (85 - step) / 45)
        parts = learner.loss(windows.batch(rng.choice(len(windows), 8)))
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    tokenizer = learner.module.eval().requires_grad_(False)
    batch = windows.batch(np.arange(len(windows)))
    pictures = torch.stack([batch.frames[view.name] for view in views])
    latents = tokenizer.encode(pictures)
    assert float(latents.mean()) == pytest.approx(0.0, abs=0.2)
    assert float(latents.std()) == pytest.approx(1.0, abs=0.2)

    wanted = pictures.float() / 255
    background = wanted.flatten(1, 2).median(1).values[:, None, None]
    weight = torch.stack([standing_out(view) for view in wanted])[..., None]
    error, without = (
        float(((guess - wanted).square() * weight).mean()) for guess in (tokenizer.decode(latents), background)
    )
    assert error < 0.5 * without

    save(tmp_path / "tokenizer", tokenizer.state_dict(), learner.about())
    kept = load_tokenizer(load(tmp_path / "tokenizer", "tokenizer"))
    assert torch.equal(kept.encode(pictures), latents)
    assert Meaning.of(load(tmp_path / "tokenizer").about).about == meaning.about
