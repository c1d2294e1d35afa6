"""The policy in many worlds, and the decider with a video model and an inverse model that know the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from dva_lab import SPEED, Walker
from torch import Tensor, nn

from assets.errors import InputError
from policies.data.statistics import Scale, Statistics
from policies.data.view import View
from policies.dva.decider import VideoDecider
from policies.dva.leapfrog import Flight, Question, Rhythm
from policies.dva.policy import Cell, DVAPolicy, Senses, embodiment_of
from policies.embodiment import Embodiment
from policies.idm.model import IDMConfig
from policies.video.cache import Cache
from policies.video.condition import Condition
from policies.video.model import VideoConfig
from policies.video.network import Meaning, VideoNetwork

RHYTHM = Rhythm(stride=2, chunk=3, lead=3, period=0.05)
STATE = ("joint0.position", "joint1.position", "joint0.velocity", "joint1.velocity", "suction.holding")
ACTION = ("joint0.position", "joint1.position", "suction")
CELL = Cell("toy", STATE, ACTION, ("cell", "wrist"), 0.05)
BODY = Embodiment("toy+suction", STATE[:2], (), ("suction.holding",), ACTION)
VIEWS = (View("cell", size=4),)
TEXTS = ("Go left.", "Go right.")
SCALE = 150.0  # [levels per rad] of what a picture says: a frame of walking is three levels


# ---- an arm that goes where it is told, seen by a camera that shows where it is --------------------------------------


class Toy:
    """Worlds of arms that follow exactly; `state`, pictures and sentences as a rollout has them."""

    def __init__(self, n: int) -> None:
        self.position, self.text = np.zeros((n, 2)), ["Go right."] * n
        self.actions: list[list[np.ndarray]] = [[] for _ in range(n)]

    def start(self, worlds: Sequence[int], at: float = 0.0) -> None:
        for world in worlds:
            self.position[world] = at
            self.actions[world] = []

    def observe(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        state = np.zeros((len(ids), len(STATE)), np.float32)
        state[:, :2] = self.position[ids]
        cell = np.zeros((len(ids), 8, 8, 3), np.uint8)
        cell[:, :4, :4, 0] = 128 + np.round(SCALE * self.position[ids, 0])[:, None, None]
        cell[:, 4:, 4:, 1] = 128 + np.round(SCALE * self.position[ids, 1])[:, None, None]
        texts = np.array([self.text[i] for i in ids])
        return {"state": state, "cell": cell, "wrist": np.zeros_like(cell), "instruction": texts}

    def run(self, policy: DVAPolicy, ids: Sequence[int], periods: int) -> None:
        which = np.array(ids)
        for _ in range(periods):
            action = policy.act(self.observe(which), which)[:, 0]
            for world, a in zip(ids, action, strict=True):
                self.actions[world].append(a)
                self.position[world] = a[:2]

    def way(self, world: int) -> np.ndarray:
        return np.array(self.actions[world])


class TrueVideo(nn.Module):
    """Frames are positions; known actions lead where they say, else the arm goes the task's way at SPEED."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = VideoConfig(views=1, tokens=1, latent=2, proprio=3, actions=6, tasks=2)
        self.written: list[tuple[Tensor, Condition]] = []

    def cache(self, rows: int, spare: int = 16) -> Cache:
        return Cache([], rows, (1, 1, 2), 2, spare=spare)

    def step(self, latents: Tensor, level: Tensor, condition: Condition, cache: Cache, write: bool = False) -> Tensor:
        assert condition.actions is not None
        assert condition.actions_known is not None
        way = torch.tensor([-1.0, 1.0])[condition.task][:, None] * torch.tensor([1.0, -1.0])
        told = condition.actions[:, 0].view(-1, 2, 3)[:, -1, :2]
        walked = cache.previous[:, 0] + RHYTHM.stride * SPEED * way
        clean = torch.where(condition.actions_known, told, walked)[:, None, None]
        if write:
            self.written.append((latents, condition))
            cache.advance(latents[:, 0])
        return clean


class TrueTokenizer(nn.Module):
    """Pictures of `Toy` to positions and back."""

    tokens, dim = 1, 2

    def encode(self, pictures: Tensor) -> Tensor:
        levels = torch.stack([pictures[..., 0, 0, 0], pictures[..., 3, 3, 1]], dim=-1).float()
        return (levels[..., None, :] - 128) / SCALE

    def decode(self, latents: Tensor) -> Tensor:
        pictures = torch.zeros(*latents.shape[:-2], 4, 4, 3)
        levels = (latents[..., 0, :] * SCALE + 128) / 255
        pictures[..., 0, 0, 0], pictures[..., 3, 3, 1] = levels[..., 0], levels[..., 1]
        return pictures


@dataclasses.dataclass
class Found:
    mean: Tensor


class TrueInverse:
    """Reads positions: the arm went evenly from frame to frame; the pump is on."""

    def __init__(self) -> None:
        self.config = IDMConfig(("cell",), joints=2, proprio=4, actions=5, stride=2, size=16)
        self.told: list[dict[str, Any]] = []

    def predict(self, frames: dict[str, Tensor], now: int, **more: Tensor) -> Found:
        self.told.append({"frames": frames["cell"], "now": now, **more})
        picture = frames["cell"]
        levels = torch.stack([picture[..., 0, 0, 0], picture[..., 3, 3, 1]], dim=-1)
        position = (levels * 255 - 128) / SCALE  # (B, W, 2)
        begin, end = position[:, now:-1, None], position[:, now + 1 :, None]
        targets = begin + (end - begin) * torch.tensor([0.5, 1.0])[:, None]
        return Found(torch.nn.functional.pad(targets, (0, 3), value=1.0))


def true_network() -> VideoNetwork:
    scales = Statistics(Scale(torch.zeros(2, 3), torch.ones(2, 3)), Scale(torch.zeros(2, 3), torch.ones(2, 3)))
    meaning = Meaning(VIEWS, 10.0, 2, TEXTS, (dataclasses.replace(BODY, name="other"), BODY), scales)
    made: Any = (TrueTokenizer(), TrueVideo())
    return VideoNetwork(*made, meaning)


def made(network: VideoNetwork, inverse: Any, rhythm: Rhythm, nworld: int) -> VideoDecider:
    return VideoDecider(network, inverse, (1, 0), rhythm, nworld, steps=2, history=3, beyond=1)


def true_policy(nworld: int, rhythm: Rhythm = RHYTHM) -> tuple[DVAPolicy, TrueVideo, TrueInverse]:
    network, inverse = true_network(), TrueInverse()
    decider = made(network, inverse, rhythm, nworld)
    senses = Senses.of(CELL, VIEWS, BODY, TEXTS)
    model: Any = network.model
    return DVAPolicy(decider, rhythm, senses, nworld), model, inverse


def reset(policy: DVAPolicy, toy: Toy, worlds: Sequence[int], variants: Sequence[int] | None = None) -> None:
    toy.start(worlds)
    policy.reset(np.array(worlds), np.array(worlds if variants is None else variants))


# ---- the policy ------------------------------------------------------------------------------------------------------


def test_the_arm_holds_for_a_chunk_and_then_goes_on_without_a_jump() -> None:
    policy, _, _ = true_policy(1)
    toy = Toy(1)
    reset(policy, toy, [0])
    toy.run(policy, [0], 60)
    way = toy.way(0)
    assert (way[:6] == 0).all()
    assert (way[6:, 2] == 1).all()
    np.testing.assert_allclose(np.abs(np.diff(way[5:, :2], axis=0)), SPEED, rtol=1e-3)
    np.testing.assert_allclose(way[-1, :2], [0.54, -0.54], rtol=1e-3)


def test_leapfrog_beats_none_by_its_hold_alone_where_the_models_are_true() -> None:
    ends = []
    for lead in (0, 3):
        policy, _, _ = true_policy(1, dataclasses.replace(RHYTHM, lead=lead))
        toy = Toy(1)
        reset(policy, toy, [0])
        toy.run(policy, [0], 60)
        ends.append(toy.way(0)[-1, 0])
    assert ends[0] - ends[1] == pytest.approx(6 * SPEED, abs=1e-3)


def test_the_memory_holds_what_happened_and_nothing_imagined() -> None:
    policy, video, _ = true_policy(1)
    toy = Toy(1)
    reset(policy, toy, [0])
    toy.run(policy, [0], 37)
    real = [(x, c) for x, c in video.written if c.proprio is not None]
    assert len(real) == 19  # frames 0 … 18
    way = toy.way(0)
    at = np.concatenate([[[0.0, 0.0]], way[1:36:2, :2]])
    for number, (latents, condition) in enumerate(real):
        np.testing.assert_allclose(latents.flatten(), at[number], atol=0.51 / SCALE)
        assert condition.proprio is not None
        assert condition.actions is not None
        assert condition.actions_known is not None
        np.testing.assert_allclose(condition.proprio[0, 0, :2], at[number], rtol=1e-5)
        assert bool(condition.actions_known[0, 0]) == (number > 0)
        if number:
            np.testing.assert_array_equal(condition.actions[0, 0].view(2, 3), way[2 * number - 2 : 2 * number])
    assert policy.decider._memory.caches[0].frames.tolist() == [19]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_translation_reads_real_frames_then_imagined_ones() -> None:
    policy, _, inverse = true_policy(1)
    toy = Toy(1)
    reset(policy, toy, [0])
    toy.run(policy, [0], 13)
    first, second, third = inverse.told
    way, ahead = toy.way(0), 3 + 3 + 1
    # As many real frames as there are, up to three.
    assert [t["now"] for t in inverse.told] == [0, 2, 2]
    assert [t["frames"].shape[1] for t in inverse.told] == [1 + ahead, 3 + ahead, 3 + ahead]
    assert [t["past_actions"].shape[1] for t in inverse.told] == [0, 2, 2]
    assert all(t["known"].tolist() == [[True] * 3 + [False] * 4] for t in inverse.told)
    np.testing.assert_array_equal(second["past_actions"][0, ..., :3].flatten(0, 1), way[2:6])
    np.testing.assert_array_equal(second["known_actions"][0, :3, :, :3].flatten(0, 1), way[6:12])
    np.testing.assert_array_equal(third["past_actions"][0, ..., :3].flatten(0, 1), way[8:12])
    np.testing.assert_allclose(third["proprio"][0, :, :2], way[[7, 9, 11], :2], rtol=1e-6)
    assert first["embodiment"].tolist() == [0]
    # The real frames are the camera's, to the level.
    levels = third["frames"][0, :3, 0, 0, 0] * 255
    np.testing.assert_allclose(levels, 128 + np.round(SCALE * way[[7, 9, 11], 0]), atol=1e-3)


def test_worlds_do_not_disturb_each_other_and_begin_when_they_are_told() -> None:
    alone = []
    for world in range(3):
        policy, _, _ = true_policy(1)
        toy = Toy(1)
        toy.text = [TEXTS[world % 2]]
        reset(policy, toy, [0], [world])
        toy.run(policy, [0], 30)
        alone.append(toy.way(0))
    policy, _, _ = true_policy(3)
    toy = Toy(3)
    toy.text = [TEXTS[world % 2] for world in range(3)]
    reset(policy, toy, [0, 1], [0, 1])
    toy.run(policy, [0, 1], 7)
    reset(policy, toy, [2])
    toy.run(policy, [0, 1, 2], 23)
    toy.run(policy, [2], 7)
    for world in range(3):
        np.testing.assert_array_equal(toy.way(world), alone[world])
    # The same world again, in the middle of a chunk.
    reset(policy, toy, [1])
    toy.run(policy, [1], 30)
    np.testing.assert_array_equal(toy.way(1), alone[1])


def test_a_chunk_is_as_long_as_all_worlds_have_decided() -> None:
    policy, _, _ = true_policy(2)
    toy = Toy(2)
    reset(policy, toy, [0])
    which = np.array([0])
    assert policy.act(toy.observe(which), which).shape == (1, 12, 3)
    assert policy.act(toy.observe(which), which).shape == (1, 11, 3)
    reset(policy, toy, [1])
    both = np.array([0, 1])
    assert policy.act(toy.observe(both), both).shape == (2, 10, 3)


# ---- the decider's memory --------------------------------------------------------------------------------------------


def asked(first: int, frames: int, world: int = 0) -> Question:
    """A question of an arm that goes right at SPEED, from frame `first` on."""
    at = (np.arange(first, first + frames)[:, None] * 2 * SPEED * np.array([1, -1])).astype(np.float32)
    toy = Toy(frames)
    toy.position = at.astype(np.float64)
    senses = Senses.of(CELL, VIEWS, BODY, TEXTS)
    seen = senses.seen(toy.observe(np.arange(frames)), range(frames))
    return Question(
        world=world,
        number=1,
        episode=0,
        task=1,
        first=first,
        pictures={"cell": np.stack([s.pictures["cell"] for s in seen])},
        proprio=np.stack([s.proprio for s in seen]),
        led=np.zeros((frames, 2, 3), np.float32),
        in_flight=np.zeros((0, 2, 3), np.float32),
    )


def decider(nworld: int = 1) -> tuple[VideoDecider, TrueVideo]:
    network = true_network()
    model: Any = network.model
    return made(network, TrueInverse(), RHYTHM, nworld), model


def real_frames(video: TrueVideo) -> int:
    return sum(c.proprio is not None for _, c in video.written)


def test_frames_are_taken_in_once_however_often_they_come() -> None:
    one, video = decider()
    first = one.decide([asked(0, 4)])[0]
    assert real_frames(video) == 4
    np.testing.assert_array_equal(one.decide([asked(2, 2)])[0], first)  # all known
    assert real_frames(video) == 4
    one.decide([asked(2, 5)])  # 4, 5, 6 are new
    assert real_frames(video) == 7
    assert one._memory.caches[0].frames.tolist() == [7]


@pytest.mark.parametrize("again", [asked(9, 2), asked(0, 3)])
def test_missing_frames_and_a_beginning_start_afresh(again: Question) -> None:
    one, video = decider()
    one.decide([asked(0, 4)])
    one.decide([again])
    assert one._memory.caches[0].frames.tolist() == [len(again.proprio)]
    begin = [c for _, c in video.written if c.proprio is not None][4]
    assert begin.actions_known is not None
    assert not begin.actions_known.any()


def test_worlds_in_one_batch_decide_as_alone() -> None:
    alone = [decider()[0].decide([asked(first, 2)])[0] for first in (0, 5)]
    together, _ = decider(3)
    together._memory._together, together._memory.caches = 3, [together.video.model.cache(3, 16)]
    both = together.decide([asked(5, 2, world=2), asked(0, 2, world=0)])
    np.testing.assert_array_equal(both[0], alone[1])
    np.testing.assert_array_equal(both[1], alone[0])
    assert together._memory.caches[0].frames.tolist() == [2, 0, 2]


def replaced(**more: Any) -> Question:
    return dataclasses.replace(asked(0, 2), **more)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (replaced(proprio=np.zeros((2, 4), np.float32)), r"proprio is \(4,\) per frame, toy\+suction has \(3,\)"),
        (replaced(led=np.zeros((2, 1, 3), np.float32)), r"led is \(1, 3\)"),
        (replaced(in_flight=np.zeros((4, 2, 3), np.float32)), "4 frames in flight, at most 3"),
        (replaced(in_flight=np.full((1, 2, 3), np.nan, np.float32)), "in its in_flight that is not finite"),
        (replaced(pictures={}), "no pictures of the view 'cell'"),
        (replaced(pictures={"cell": np.zeros((2, 8, 8, 3), np.uint8)}), r"pictures of \(8, 8, 3\)"),
        (replaced(world=1), "world 1: there are 1"),
    ],
)
def test_a_question_that_does_not_fit_is_refused_and_changes_nothing(question: Question, says: str) -> None:
    one, video = decider()
    with pytest.raises(InputError, match=says):
        one.decide([question])
    assert not video.written


# ---- what does not fit -----------------------------------------------------------------------------------------------


def test_a_cell_that_does_not_fit_the_checkpoint_gets_one_line() -> None:
    with pytest.raises(InputError, match=r"camera of the cell.*'cel'.*'cell'"):
        Senses.of(CELL, (View("cel"),), BODY, TEXTS)
    with pytest.raises(InputError, match=r"the cell takes joint0\.position"):
        Senses.of(CELL, VIEWS, dataclasses.replace(BODY, actions=("a",)), TEXTS)
    with pytest.raises(InputError, match=r"no 'joint9\.torque'"):
        Senses.of(CELL, VIEWS, dataclasses.replace(BODY, torques=("joint9.torque",)), TEXTS)
    senses = Senses.of(CELL, VIEWS, BODY, TEXTS)
    with pytest.raises(InputError, match=r"did you mean 'Go left\.'"):
        senses.task("Go leftt.")
    with pytest.raises(InputError, match="camera 'cell', of which there is no picture"):
        senses.seen({"state": np.zeros((1, 5))}, [0])


def test_arm_and_tool_are_found_among_those_of_the_checkpoint() -> None:
    torques = (*STATE, "joint0.torque", "joint1.torque")
    strong = dataclasses.replace(BODY, torques=("joint0.torque", "joint1.torque"))
    assert embodiment_of(CELL, [dataclasses.replace(BODY, name="ur5+suction"), BODY]) == 1
    able = dataclasses.replace(CELL, state_names=torques)
    assert embodiment_of(able, [BODY, strong]) == 1
    assert embodiment_of(able, [BODY]) == 0  # trained without torques
    with pytest.raises(InputError, match=r"the checkpoint knows ur5; the cell has toy\+suction"):
        embodiment_of(CELL, [dataclasses.replace(BODY, name="ur5")])


def test_holding_keeps_what_is_measured_and_leaves_the_pump_off() -> None:
    senses = Senses.of(CELL, VIEWS, BODY, TEXTS)
    np.testing.assert_array_equal(senses.holding(np.array([0.5, -0.5, 9.0, 9.0, 1.0])), np.float32([0.5, -0.5, 0.0]))


def test_any_decider_will_do() -> None:
    rhythm = Rhythm(stride=2, chunk=4, lead=4, period=0.05)

    class Sucker(Walker):
        def _chunk(self, question: Question) -> np.ndarray:
            chunk = np.ones((4, 2, 3), np.float32)
            last = question.in_flight[-1, -1, :2]
            chunk[..., :2] = (last + SPEED * np.arange(1, 9)[:, None]).reshape(4, 2, 2)
            return chunk

    policy = DVAPolicy(Sucker(rhythm), rhythm, Senses.of(CELL, VIEWS, BODY, TEXTS), 2)
    toy = Toy(2)
    reset(policy, toy, [0, 1], [7, 8])
    toy.run(policy, [0, 1], 24)
    np.testing.assert_allclose(np.diff(toy.way(1)[8:, :2], axis=0), SPEED, rtol=1e-3)
    assert isinstance(policy._flights[0], Flight)
    assert [q.episode for q in policy.decider.questions[:2]] == [7, 8]  # pyright: ignore[reportAttributeAccessIssue]
