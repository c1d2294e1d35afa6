"""A video model that two processes share out among them is trained as by one that has all of it."""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
from pathlib import Path

import policies_lab
import pytest
import sharding_lab as lab
import torch
import training_lab

from assets.errors import InputError
from policies.checkpoint import load
from policies.data.windows import Sampler, Windows
from policies.video.network import load_video

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return policies_lab.little_dataset(tmp_path_factory.mktemp("data") / "d", episodes=2, length=16)


@pytest.fixture(scope="module")
def windows(dataset: Path) -> Windows:
    return training_lab.little_windows(dataset, dataset.parent / "cache")


def test_two_processes_that_share_the_model_do_what_one_does(
    dataset: Path, windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = [windows.batch(Sampler(len(windows), 2, seed=9).next())]
    _, alone = lab.run(windows, tmp_path / "one", 4, 4, False, tests=tests, schedule="constant")
    _, low = lab.run(windows, tmp_path / "one-low", 2, 4, False, bf16=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    for name, value in {**torchrun, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    environment = {**os.environ, "RANK": "1", "LOCAL_RANK": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, lab.__file__, str(dataset), str(tmp_path)]
    log = (tmp_path / "second.txt").open("w")
    second = subprocess.Popen(command, env=environment, stderr=log)
    torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=300))
    try:
        told = lab.story(windows, tmp_path)
        assert second.wait(timeout=300) == 0, (tmp_path / "second.txt").read_text()[-2000:]
    finally:
        torch.distributed.destroy_process_group()
        second.kill()
        second.wait()
    first, after, in_bf16 = told
    losses = [loss for _, loss in first["history"] + after["history"]]
    assert losses == pytest.approx([loss for _, loss in alone["history"]], rel=2e-3)
    assert losses[-1] != pytest.approx(losses[0], rel=0.005)  # it did learn
    assert after["test_loss"] == pytest.approx(alone["test_loss"], rel=2e-3)
    assert in_bf16["history"][-1][1] == pytest.approx(low["history"][-1][1], rel=2e-2)
    # What is kept is whole: a plain network takes it, and what was not shared out is as it was.
    ours, theirs = load(tmp_path / "one", "video").weights, load(tmp_path / "t", "video").weights
    assert {name: w.shape for name, w in ours.items()} == {name: w.shape for name, w in theirs.items()}
    for name in ours:  # Muon turns rounding errors of bfloat16 into small steps
        a, b = ours[name].double(), theirs[name].double()
        assert float((a - b).norm()) < 0.02 * float(a.norm()) + 0.02, name
    load_video(tmp_path / "t")


def test_what_cannot_be_shared_out(windows: Windows, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="start several, with torchrun"):
        lab.run(windows, tmp_path / "t", 1, 8, True)
    from policies.sharding import shard

    with pytest.raises(InputError, match="is for video models"):
        shard(training_lab.LittleLearner(windows).module, False)
