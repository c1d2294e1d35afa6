"""FAST codes: every chunk comes back within the rounding, those that nobody fitted too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assets.errors import InputError
from policies.baselines.backbone import Decoder
from policies.baselines.fast import RESOLUTION, Fast, FastCodes

STEPS, NUMBERS = 8, 7
# Rounding is at most half a step in each of a chunk's coefficients, and the transform keeps lengths.
LARGEST = 0.5 / RESOLUTION * np.sqrt(STEPS) + 1e-5


def smooth(n: int, seed: int = 0) -> np.ndarray:
    """Chunks like those of an arm: slow waves, and a tool that switches; unit spread."""
    rng = np.random.default_rng(seed)
    phase, speed, size = (
        rng.uniform(0, 6, (n, 1, NUMBERS)),
        rng.uniform(0, 0.4, (n, 1, 1)),
        rng.exponential(1.0, (n, 1, 1)),
    )
    chunks = size * np.sin(phase + speed * np.arange(STEPS)[None, :, None])
    chunks[..., -1] = np.arange(STEPS) >= rng.integers(0, 2 * STEPS, (n, 1))
    return chunks.astype(np.float32)


@pytest.fixture(scope="module")
def codes() -> FastCodes:
    return FastCodes.fit(smooth(2000))


@pytest.mark.parametrize("name", ["fitted", "unseen", "noise", "huge", "zero"])
def test_a_chunk_comes_back_within_the_rounding(codes: FastCodes, name: str) -> None:
    noise = np.random.default_rng(1).standard_normal((20, STEPS, NUMBERS))
    chunks = {"fitted": smooth(50), "unseen": smooth(50, 1), "noise": noise, "huge": 300 * noise, "zero": 0 * noise}[
        name
    ]
    for chunk, coded in zip(chunks, codes.encode(chunks), strict=True):
        again = codes.decode(coded)
        assert again.dtype == np.float32
        # A coefficient is off by half a step at most, also where it is far out of the reach of the codes.
        assert np.linalg.norm(again - chunk, axis=0).max() <= LARGEST
        assert codes.counts[coded].sum() == STEPS * NUMBERS


def test_codes_are_fewer_than_numbers(codes: FastCodes) -> None:
    coded = codes.encode(smooth(200, 2))
    assert np.mean([len(row) for row in coded]) < 0.5 * STEPS * NUMBERS
    assert codes.vocabulary == 1024


def test_the_same_actions_give_the_same_codes_here_and_from_a_checkpoint(codes: FastCodes) -> None:
    chunks = smooth(20, 3)
    assert FastCodes.fit(smooth(2000)).encode(chunks) == codes.encode(chunks)
    assert FastCodes(**codes.about).encode(chunks) == codes.encode(chunks)
    with pytest.raises(InputError, match="damaged"):
        FastCodes(**{**codes.about, "pairs": "{"})


def test_what_is_no_whole_chunk_is_filled_or_cut(codes: FastCodes) -> None:
    first, second = codes.encode(smooth(2, 4))
    np.testing.assert_array_equal(codes.decode(first + second), codes.decode(first))
    assert codes.decode([]).tolist() == np.zeros((STEPS, NUMBERS)).tolist()
    assert np.isfinite(codes.decode(first[:3])).all()


def test_actions_that_are_no_numbers_are_refused(codes: FastCodes) -> None:
    chunks = smooth(3)
    chunks[1, 2, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        codes.encode(chunks)
    with pytest.raises(InputError, match="no actions"):
        FastCodes.fit(chunks[:0])


def test_whatever_the_network_says_is_a_chunk(codes: FastCodes) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    head = Fast(Decoder(16, 2, 2, 1, 2, (2, 3), STEPS * NUMBERS), codes)
    torch.nn.init.normal_(head.codes.outward.weight)
    with torch.no_grad():
        chunks = head.act(torch.randn(3, 4, 16), torch.zeros(3, STEPS, NUMBERS))
    assert chunks.shape == (3, STEPS, NUMBERS)
    assert torch.isfinite(chunks).all()
