"""Dreams in bulk: what they do not depend on, what they are told, the inverse model in the loop, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from assets.errors import InputError
from policies.data.lerobot import LeRobotDataset
from policies.data.videos import open_source
from policies.idm.model import InverseDynamics
from policies.video.dream import dream
from policies.video.dreaming import dream_all, judges_of
from policies.video.drift import Plan, summary
from policies.video.footage import Footage, footage_of
from policies.video.translation import Translation
from tests.policies.dream_lab import idm_of, network_of
from tests.policies.policies_lab import little_dataset, little_video

PLAN = Plan(5, 8, 4, 6, batch=5)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Footage, InverseDynamics]:
    """Footage of the little cell with an untrained network, and an untrained inverse model."""
    folder = tmp_path_factory.mktemp("dreams")
    root = little_dataset(folder / "data", 4, 40)
    network = network_of(root, folder / "cache")
    footage = footage_of([LeRobotDataset(root)], network, 0.25, 0, folder / "cache")
    return footage, idm_of(root, folder / "cache")


def test_a_dream_is_the_same_whoever_dreams_beside_it(lab: tuple[Footage, InverseDynamics]) -> None:
    footage, _ = lab
    together = dream_all(footage, PLAN, keep=5)
    apart = dream_all(footage, dataclasses.replace(PLAN, batch=2), keep=3)
    for view, pictures in together.dreamed.items():
        assert pictures.shape == (5, 8, 32, 32, 3)
        assert np.abs(pictures[:3].astype(int) - apart.dreamed[view]).max() <= 1
    assert together.measures["camera/dream"] == pytest.approx(apart.measures["camera/dream"], rel=1e-3, nan_ok=True)
    other = dream_all(footage, dataclasses.replace(PLAN, seed=1), keep=1)
    assert not np.array_equal(other.dreamed["cell"][0], together.dreamed["cell"][0])


def test_everything_is_measured_where_there_is_a_truth(lab: tuple[Footage, InverseDynamics]) -> None:
    footage, _ = lab
    judges = judges_of(footage, steps=3)
    assert set(judges.errors) == {"joint0.position", "joint1.position", "joint2.position"}
    assert 0 <= judges.real <= 1
    told: list[tuple[int, int]] = []
    drift = dream_all(footage, PLAN, judges, progress=lambda *n: told.append(n))
    assert told[-1] == (40, 40)
    for name in ("camera/dream", "rendered/copy_last", "camera/rendered", "joints/dream", "joints/apart", "changed"):
        assert np.isfinite(drift.measures[name]).all(0).tolist() == [True] * 6 + [False] * 2
    assert np.isfinite(drift.measures["motion/dream"]).all()
    # The tokenizer's rendering of the truth, seen as the tokenizer renders it, is perfect; nothing else is.
    assert (drift.measures["rendered/dream"][:, :6] > 0).all()
    said = summary(drift)
    assert len(said["margin"]["value"]) == len(said["psnr_rendered"]["dream"]) == 6
    assert said["frames_per_second"] > 0
    # The last picture seen is copy-last's, at all horizons.
    part = footage.part(footage.starts(5, 10, 0), 10, 4)
    last, after = (part.pictures["cell"][:, i].float() / 255 for i in (3, 9))
    wrong = (last - after).square().mean((1, 2, 3))
    other = (part.pictures["wrist"][:, 3].float() / 255 - part.pictures["wrist"][:, 9].float() / 255).square()
    assert drift.measures["camera/copy_last"][:, 5] == pytest.approx(((wrong + other.mean((1, 2, 3))) / 2).numpy())


def test_actions_are_told_as_far_as_they_were_recorded(lab: tuple[Footage, InverseDynamics]) -> None:
    footage, _ = lab
    network, part = footage.network, footage.part(footage.starts(2, 12), 12, 4)
    actions = part.condition.actions
    assert actions is not None

    def dreamed(led: torch.Tensor | None) -> torch.Tensor:
        draws = [torch.Generator().manual_seed(row) for row in range(2)]
        shown = part.frames[:, :4], part.condition.frames(slice(0, 4))
        return torch.cat(list(dream(network, *shown, 8, led, generator=draws)), 1)

    whole, some, none = dreamed(actions[:, 4:]), dreamed(actions[:, 4:8]), dreamed(None)
    assert torch.equal(whole[:, :4], some[:, :4])
    assert not torch.allclose(whole[:, 4:], some[:, 4:])
    assert not torch.allclose(some[:, 0], none[:, 0])


def test_the_inverse_model_counts_on_from_the_pose_at_the_start(lab: tuple[Footage, InverseDynamics]) -> None:
    footage, idm = lab
    meaning = footage.network.meaning
    drift = dream_all(footage, dataclasses.replace(PLAN, acts="idm"), idm=(idm, meaning))
    assert np.isfinite(drift.measures["camera/dream"][:, :6]).all()
    part = footage.part(footage.starts(3, 10), 10, 4)
    pose = torch.tensor([[0.9, -0.9, 0.3]]).expand(3, -1)
    found = []
    for shift in (0.0, 0.1):
        translate = Translation(footage.network, idm, meaning, pose + shift, part.embodiment)
        flat = translate(part.frames[:, :7], 4)
        assert flat.shape == (3, 3, footage.network.model.config.actions)
        scale = meaning.statistics.actions
        targets = scale.denormalize(flat.unflatten(2, (meaning.stride, -1)), part.embodiment)
        found.append(targets[..., :3])
        translate(part.frames[:, :7], 4)
        assert float((translate.pose[:, :3] - pose - shift).abs().max()) > 1e-6  # it went on
    assert torch.allclose(found[1] - found[0], torch.full_like(found[0], 0.1), atol=1e-5)


def test_what_cannot_be_dreamed_is_named(lab: tuple[Footage, InverseDynamics], tmp_path: Path) -> None:
    footage, idm = lab
    with pytest.raises(InputError, match="acts = idm wants an inverse model"):
        dream_all(footage, dataclasses.replace(PLAN, acts="idm"))
    with pytest.raises(InputError, match="known are told, self, idm"):
        dataclasses.replace(PLAN, acts="freely")
    with pytest.raises(InputError, match="count = 0 must be at least 1"):
        dataclasses.replace(PLAN, count=0)
    with pytest.raises(InputError, match="cannot be compared over 6"):
        dataclasses.replace(PLAN, frames=5)
    with pytest.raises(InputError, match="the longest of all episodes has"):
        footage.starts(1, 200)
    little_video(tmp_path / "films" / "a.mp4", 40)
    little_video(tmp_path / "films" / "b.mp4", 40, seed=1)
    films = footage_of([open_source(tmp_path / "films")], footage.network, 0.5, 0, tmp_path / "cache")
    assert films.names == ()
    assert np.isfinite(dream_all(films, PLAN).measures["camera/dream"][:, :6]).all()
    with pytest.raises(InputError, match="acts = told wants recorded actions"):
        dream_all(films, dataclasses.replace(PLAN, acts="told"))
    blind = dataclasses.replace(footage.network.meaning, rate=5.0)
    part = footage.part(footage.starts(1, 10), 10, 4)
    with pytest.raises(InputError, match="the video model sees"):
        Translation(footage.network, idm, blind, part.pose, part.embodiment)
    strange = dataclasses.replace(footage.network.meaning, embodiments=())
    with pytest.raises(InputError, match="does not know ur20"):
        Translation(footage.network, idm, strange, part.pose, part.embodiment)
