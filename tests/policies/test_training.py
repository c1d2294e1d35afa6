"""The training loop: it learns, goes on where it stopped to the bit, and several processes do what one does."""

from __future__ import annotations

import datetime
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import policies_lab
import pytest
import torch
import training_lab as lab

from assets.errors import InputError
from policies.checkpoint import load
from policies.data.windows import Batches, Sampler, Windows
from policies.training import rate_at, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return policies_lab.little_dataset(tmp_path_factory.mktemp("data") / "d", episodes=3, length=24)


@pytest.fixture(scope="module")
def windows(dataset: Path) -> Windows:
    return lab.little_windows(dataset, dataset.parent / "cache")


def run(windows: Windows, folder: Path, steps: int, **more: object) -> tuple[lab.LittleLearner, dict]:
    learner = lab.LittleLearner(windows, float(more.pop("noise", 0.0)), 0, int(more.pop("interrupt_at", 0)))  # type: ignore[arg-type]
    resume, tests = bool(more.pop("resume", False)), more.pop("tests", ())
    with Batches(windows, Sampler(len(windows), 8)) as batches:
        return learner, train(learner, batches, lab.settings(steps, **more), folder, resume, tests)  # type: ignore[arg-type]


def test_a_training_learns_and_leaves_averaged_weights(windows: Windows, tmp_path: Path) -> None:
    learner, result = run(windows, tmp_path / "t", 120, ema=0.9)
    losses = [loss for _, loss in result["history"]]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    assert result["step"] == 120
    assert result["stopped"] == "steps"
    checkpoint = load(tmp_path / "t", "idm")
    last = learner.module.state_dict()
    assert any(not torch.equal(checkpoint.weights[name], last[name]) for name in last)
    assert checkpoint.about["provenance"]["step"] == 120
    assert checkpoint.about["provenance"]["datasets"][0]["hash"] == windows.prepared[0].hash
    assert list((tmp_path / "t").glob("events.out.tfevents*"))


def test_an_interrupted_training_goes_on_to_the_bit(windows: Windows, tmp_path: Path) -> None:
    looks = {"sample_every": 4, "tests": [windows.batch(Sampler(len(windows), 8, seed=9).next())]}
    whole, one = run(windows, tmp_path / "whole", 12, noise=0.1, **looks)
    _, first = run(windows, tmp_path / "parts", 12, noise=0.1, interrupt_at=6, **looks)  # the test at step 4 counts
    assert first["stopped"] == "signal"
    assert first["step"] == 5
    parts, second = run(windows, tmp_path / "parts", 12, noise=0.1, resume=True, **looks)
    assert first["history"] + second["history"] == one["history"]
    assert second["test_loss"] == one["test_loss"]
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, parts.module.state_dict()[name])
    a, b = load(tmp_path / "whole", "idm"), load(tmp_path / "parts", "idm")
    assert a.hash == b.hash


def test_samples_and_tests_do_not_change_the_training(windows: Windows, tmp_path: Path) -> None:
    plain, _ = run(windows, tmp_path / "plain", 6, noise=0.1)
    tests = [windows.batch(Sampler(len(windows), 8, seed=9).next())]
    looked, result = run(windows, tmp_path / "looked", 6, noise=0.1, sample_every=2, tests=tests)
    assert looked.samples == 3
    assert math.isfinite(result["test_loss"])
    assert torch.equal(plain.module[0].weight, looked.module[0].weight)


def test_two_processes_with_half_the_batch_do_what_one_does(
    dataset: Path, windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, alone = run(windows, tmp_path / "one", 8)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    for name, value in {**torchrun, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    environment = {**os.environ, "RANK": "1", "LOCAL_RANK": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, lab.__file__, str(dataset), str(tmp_path), "4", "8"]
    second = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    try:
        learner = lab.LittleLearner(windows)
        with Batches(windows, Sampler(len(windows), 4, 0, 0, 2)) as batches:
            together = train(learner, batches, lab.settings(8), tmp_path / "training")
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 0, errors
    finally:
        torch.distributed.destroy_process_group()
        second.kill()
    assert [step for step, _ in together["history"]] == list(range(1, 9))
    for (_, a), (_, b) in zip(alone["history"], together["history"], strict=True):
        assert b == pytest.approx(a, rel=1e-4)
    assert alone["history"][-1][1] != pytest.approx(alone["history"][0][1], rel=0.01)  # it did learn
    assert together["windows_per_second"] > 0
    for a, b in zip(one.module.parameters(), learner.module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_minutes_end_a_training_too(windows: Windows, tmp_path: Path) -> None:
    _, result = run(windows, tmp_path / "t", 0, minutes=0.01)
    assert result["stopped"] == "minutes"
    assert 0.6 <= result["seconds"] < 5
    assert result["step"] > 1


def test_kept_checkpoints_stand_by_themselves(windows: Windows, tmp_path: Path) -> None:
    run(windows, tmp_path / "t", 6, keep_every=3, ema=0.0)
    kept = load(tmp_path / "t" / "step-0000003", "idm")
    assert kept.about["provenance"]["step"] == 3
    assert not (kept.folder / "resume.pt").exists()


def test_the_learning_rate_rises_and_falls() -> None:
    settings = lab.settings(100, warmup=10, final=0.1)
    assert rate_at(settings, 0, 0.0) == pytest.approx(0.1)
    assert rate_at(settings, 9, 0.0) == pytest.approx(1.0)
    assert rate_at(settings, 50, 0.5) == pytest.approx(0.55)
    assert rate_at(settings, 100, 1.0) == pytest.approx(0.1)
    assert rate_at(lab.settings(100, schedule="linear", final=0.0), 75, 0.75) == pytest.approx(0.25)


def test_a_training_is_not_overwritten(windows: Windows, tmp_path: Path) -> None:
    run(windows, tmp_path / "t", 1)
    with pytest.raises(InputError, match="holds a training already; resume it"):
        run(windows, tmp_path / "t", 1)


def test_a_training_that_diverges_keeps_its_last_checkpoint(windows: Windows, tmp_path: Path) -> None:
    run(windows, tmp_path / "t", 2)
    with pytest.raises(InputError, match="loss is nan at step 3: the training diverged"):
        run(windows, tmp_path / "t", 4, resume=True, noise=float("nan"))
    assert load(tmp_path / "t", "idm").about["provenance"]["step"] == 2


def test_resume_of_something_else_is_refused(windows: Windows, tmp_path: Path) -> None:
    run(windows, tmp_path / "t", 1)
    with pytest.raises(InputError, match="was trained on 30 windows, now there are 9; resume with the same data"):
        run(Windows(windows.prepared, 4, [[0]]), tmp_path / "t", 2, resume=True)
    (tmp_path / "t" / "last" / "resume.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not fit what is to be trained"):
        run(windows, tmp_path / "t", 2, resume=True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"steps": 0}, "give one of the two"), ({"schedule": "sawtooth"}, "known are cosine, linear, constant")],
)
def test_wrong_settings(wrong: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        lab.settings(**{"steps": 1, **wrong})


def test_no_gpu(windows: Windows, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(InputError, match="there is no GPU"):
        run(windows, tmp_path / "t", 1, device="cuda")
