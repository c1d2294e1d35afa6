"""The video model's memory: cached is the same as not cached, and what was only imagined can be dropped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.flow import imagine, noise_for, remember
from policies.video.model import VideoConfig, VideoModel

PROPRIO, ACTIONS, TOKENS, LATENT = 3, 4, 6, 5


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


def little_model(**more: int) -> VideoModel:
    """A small model whose every weight matters, in double precision."""
    torch.manual_seed(0)
    settings = {"depth": 3, "context": 8, "local": 4, "anchors": 0} | more
    config = VideoConfig(
        width=32, heads=4, kv_heads=2, views=2, tokens=3, latent=LATENT, proprio=PROPRIO, actions=ACTIONS, **settings
    )
    model = VideoModel(config).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.requires_grad_(False)


def little_frames(rows: int, frames: int, seed: int = 0) -> tuple[torch.Tensor, Condition]:
    """Frames and conditions in which some things are known and some not."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    def known() -> torch.Tensor:
        return torch.rand(rows, frames, generator=draw) < 0.7

    zeros = torch.zeros(rows, dtype=torch.long)
    condition = Condition(zeros, zeros, normal(rows, frames, PROPRIO), known(), normal(rows, frames, ACTIONS), known())
    return normal(rows, frames, TOKENS, LATENT), condition


def at(condition: Condition, frame: int) -> Condition:
    return condition.frames(slice(frame, frame + 1))


def cache_of(model: VideoModel, rows: int, spare: int = 5) -> Cache:
    cache = model.cache(rows, spare)
    cache.previous = cache.previous.double()
    return cache


def test_cached_is_not_cached() -> None:
    """Also when the rings have gone round several times."""
    model = little_model()
    frames, condition = little_frames(2, 30)
    level = torch.rand(2, 30, dtype=torch.float64)
    whole = model(frames, level, condition)
    cache = cache_of(model, 2)
    for t in range(30):
        one = model.step(frames[:, t : t + 1], level[:, t], at(condition, t), cache, write=True)
        assert torch.allclose(one, whole[:, t : t + 1], atol=1e-10), t
    assert cache.frames.tolist() == [30, 30]


def test_a_question_is_answered_as_in_training() -> None:
    """`answer` asks all frames of a window at once, `step` one, after the real ones before it."""
    model = little_model()
    frames, condition = little_frames(2, 12)
    question, asked = little_frames(2, 12, seed=1)
    slight, level = torch.rand(2, 2, 12, dtype=torch.float64)
    whole = model.answer(frames, slight, question, level, condition, asked)
    cache = cache_of(model, 2)
    for t in range(12):
        one = model.step(question[:, t : t + 1], level[:, t], at(asked, t), cache)
        assert torch.allclose(one, whole[:, t : t + 1], atol=1e-10), t
        model.step(frames[:, t : t + 1], slight[:, t], at(condition, t), cache, write=True)


@pytest.mark.parametrize("seen", [0, 1, 7, 27])
def test_rewind_drops_exactly_what_was_imagined(seen: int) -> None:
    model = little_model(anchors=2, depth=2)
    frames, condition = little_frames(2, seen + 6)
    plain, dreamer = cache_of(model, 2), cache_of(model, 2)
    for cache in (plain, dreamer):
        remember(model, cache, frames[:, :seen], condition.frames(slice(0, seen)))
    for t in range(seen, seen + 6):
        dreamer.mark()
        for again in range(2):
            imagine(model, dreamer, condition.ahead(None), noise_for(model, 2, 5 - again).double(), steps=2)
            dreamer.rewind()
        assert torch.equal(plain.frames, dreamer.frames)
        assert torch.equal(plain.previous, dreamer.previous)
        level = torch.full((2,), 0.5, dtype=torch.float64)
        asked = [model.step(frames[:, t : t + 1], level, at(condition, t), cache) for cache in (plain, dreamer)]
        assert torch.equal(*asked), t
        for cache in (plain, dreamer):
            remember(model, cache, frames[:, t : t + 1], at(condition, t))


def test_imagining_more_than_the_spare_slots_cannot_be_taken_back() -> None:
    model = little_model()
    cache = cache_of(model, 1, spare=2)
    with pytest.raises(RuntimeError, match="without a mark"):
        cache.rewind()
    cache.mark()
    imagine(model, cache, little_frames(1, 3)[1].ahead(None), noise_for(model, 1, 3).double(), steps=1)
    with pytest.raises(RuntimeError, match="3 frames were written since the mark, only 2"):
        cache.rewind()


def test_rows_are_independent_and_begin_when_they_like() -> None:
    model = little_model(anchors=2)
    frames, condition = little_frames(3, 20)
    together = cache_of(model, 3)
    for t in range(20):
        if t == 7:
            together.reset([1])
        remember(model, together, frames[:, t : t + 1], at(condition, t))
    assert together.frames.tolist() == [20, 13, 20]
    level = torch.full((3,), 0.5, dtype=torch.float64)
    asked, told = little_frames(3, 1, seed=2)
    answers = model.step(asked, level, told, together)
    for row, begin in enumerate((0, 7, 0)):
        alone, which = cache_of(model, 1), torch.tensor([row])
        remember(model, alone, frames[which, begin:], condition.rows(which).frames(slice(begin, None)))
        answer = model.step(asked[which], level[which], told.rows(which), alone)
        assert torch.allclose(answer, answers[which], atol=1e-10), row


def test_some_rows_go_on_alone_and_come_back() -> None:
    model = little_model(anchors=2)
    frames, condition = little_frames(3, 14)
    whole, which = cache_of(model, 3), torch.tensor([2, 0])
    remember(model, whole, frames[:, :9], condition.frames(slice(0, 9)))
    part = whole.take(which)
    remember(model, part, frames[which, 9:], condition.rows(which).frames(slice(9, None)))
    assert whole.frames.tolist() == [9, 9, 9]  # a copy
    whole.place(which, part)
    assert whole.frames.tolist() == [14, 9, 14]
    straight = cache_of(model, 3)
    remember(model, straight, frames, condition)
    level = torch.full((3,), 0.5, dtype=torch.float64)
    asked, told = little_frames(3, 1, seed=2)
    one, other = (model.step(asked, level, told, cache) for cache in (whole, straight))
    assert torch.allclose(one[which], other[which], atol=1e-10)
    assert not torch.allclose(one[1], other[1])


def test_anchors_are_remembered_and_nothing_else_beyond_the_reach() -> None:
    frames, condition = little_frames(1, 45)
    level = torch.full((1,), 0.5, dtype=torch.float64)

    def answer(model: VideoModel, changed: int | None) -> torch.Tensor:
        given = frames.clone()
        if changed is not None:
            given[:, changed] += 1.0
        cache = cache_of(model, 1)
        remember(model, cache, given, condition)
        return model.step(given[:, :1] * 0, level, at(condition, 0), cache)

    for anchors, remembered in ((0, False), (2, True)):
        model = little_model(anchors=anchors)
        plain = answer(model, None)
        assert torch.allclose(plain, answer(model, 0)) != remembered
        assert torch.allclose(plain, answer(model, 1)) != remembered
        assert not torch.allclose(plain, answer(model, 42))
    # Three layers that reach 8 frames back each see at most 3 * 7 frames, through others; with anchors as well.
    model = little_model(anchors=0)
    assert torch.equal(answer(model, None), answer(model, 20))


def test_memory_and_time_do_not_grow() -> None:
    model = little_model(anchors=2)
    cache = cache_of(model, 2)
    before, (frames, condition) = cache.bytes, little_frames(2, 40)
    remember(model, cache, frames, condition)
    assert cache.bytes == before
    far, near = 8 + 5 + 2, 4 + 5
    assert (
        before == (2 * far + near) * 2 * 2 * TOKENS * 2 * 8 * 8
    )  # frames, keys and values, rows, tokens, heads, width, B
