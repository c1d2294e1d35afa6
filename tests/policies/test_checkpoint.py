"""Checkpoints: what was saved comes back, a killed save leaves one whole, and what is wrong is told in one line."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assets.errors import InputError
from policies import checkpoint
from policies.checkpoint import load, save


def weights(value: float, size: int = 10) -> dict[str, torch.Tensor]:
    return {
        "a.weight": torch.full((size, 3), value),
        "b": torch.tensor([1, 2]),
        "c": torch.ones(2, dtype=torch.bfloat16),
    }


ABOUT = {"kind": "video", "config": {"width": 16, "crop": (0.0, 0.5)}, "scale": np.array([0.1, 1e-7], np.float32)}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    made = save(tmp_path / "c", weights(0.25), {**ABOUT, "text": "Größe: 3 µm"}, {"more.txt": b"more"})
    found = load(made, "video")
    assert found.weights.keys() == weights(0).keys()
    for name, tensor in weights(0.25).items():
        assert torch.equal(found.weights[name], tensor)
    assert found.about["config"] == {"width": 16, "crop": [0.0, 0.5]}
    assert np.array_equal(np.array(found.about["scale"], np.float32), ABOUT["scale"])
    assert found.about["text"] == "Größe: 3 µm"
    assert len(found.hash) == 64
    assert (made / "more.txt").read_bytes() == b"more"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]


def test_views_of_one_tensor_are_saved_each(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    save(tmp_path / "c", {"x": shared, "y": shared[2:4]}, ABOUT)
    assert load(tmp_path / "c").weights["y"].tolist() == [2.0, 3.0]


def test_a_trainings_folder_stands_for_its_newest_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "last", weights(1.0), ABOUT)
    assert load(tmp_path).folder == tmp_path / "last"


class Killed(BaseException):
    """The process ends here: nothing is tidied up."""


def dying(do: Callable[..., Any], clock: Iterator[int], death: int) -> Callable[..., None]:
    """A function that ends the process where the `death`-th call of its kind would be."""

    def call(*args: Any, **kwargs: Any) -> None:
        if next(clock) == death:
            raise Killed
        do(*args, **kwargs)

    return call


def test_a_save_that_ends_anywhere_leaves_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {os: ("rename", "fsync"), checkpoint.shutil: ("rmtree",)}
    original = {(module, name): getattr(module, name) for module, names in names.items() for name in names}
    outcomes = []
    for death in range(1, 20):
        folder = tmp_path / f"{death}" / "c"
        save(folder, weights(1.0), ABOUT)
        clock = itertools.count(1)
        for (module, name), do in original.items():
            monkeypatch.setattr(module, name, dying(do, clock, death))
        try:
            save(folder, weights(2.0), ABOUT)
            finished = True
        except Killed:
            finished = False
        for (module, name), do in original.items():
            monkeypatch.setattr(module, name, do)
        value = float(load(folder, "video").weights["a.weight"][0, 0])
        outcomes.append(value)
        save(folder, weights(3.0), ABOUT)  # what was left is no hindrance
        assert float(load(folder).weights["a.weight"][0, 0]) == 3.0
        assert sorted(path.name for path in folder.parent.iterdir()) == ["c"]
        if finished:
            break
    assert finished
    assert value == 2.0
    assert 1.0 in outcomes
    assert outcomes == sorted(outcomes)


def _save_without_end(folder: Path) -> None:
    torch.set_num_threads(1)
    for value in range(1, 10_000):
        save(folder, weights(float(value), 20_000), {**ABOUT, "value": value})


def test_a_killed_process_leaves_one_whole(tmp_path: Path) -> None:
    rng = random.Random(0)
    folder = tmp_path / "c"
    save(folder, weights(0.0, 20_000), {**ABOUT, "value": 0})
    for _ in range(8):
        process = multiprocessing.get_context("fork").Process(target=_save_without_end, args=(folder,))
        process.start()
        time.sleep(0.05 + 0.1 * rng.random())
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = load(folder, "video")
        assert float(found.weights["a.weight"][-1, -1]) == found.about["value"]


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "c", weights(1.0), ABOUT)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left"):
        save(tmp_path / "c", weights(2.0), ABOUT)
    assert float(load(tmp_path / "c").weights["a.weight"][0, 0]) == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; a checkpoint's folder is wanted"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no checkpoint\.yaml"):
        load(tmp_path)


def test_damaged(tmp_path: Path) -> None:
    folder = save(tmp_path / "c", weights(1.0), ABOUT)
    data = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(data[:-20])
    with pytest.raises(InputError, match=r"weights\.safetensors: is damaged or another checkpoint's"):
        load(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"weights\.safetensors: is missing or damaged"):
        load(folder)
    (folder / "checkpoint.yaml").write_text("kind: [video")
    with pytest.raises(InputError, match=r"checkpoint\.yaml: is damaged or no checkpoint's"):
        load(folder)
    (folder / "checkpoint.yaml").write_text("just a text")
    with pytest.raises(InputError, match=r"checkpoint\.yaml: is damaged or no checkpoint's"):
        load(folder)


def test_foreign(tmp_path: Path) -> None:
    folder = save(tmp_path / "c", weights(1.0), ABOUT)
    with pytest.raises(InputError, match="is a checkpoint of kind 'video', wanted is 'idm'"):
        load(folder, "idm")
    text = (folder / "checkpoint.yaml").read_text()
    (folder / "checkpoint.yaml").write_text(text.replace("format: 1", "format: 7"))
    with pytest.raises(InputError, match="a checkpoint of format 7, this reads 1"):
        load(folder)


def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"weight 'a\.weight' is not finite"):
        save(tmp_path / "c", weights(float("nan")), ABOUT)
    assert not (tmp_path / "c").exists()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_check_finite", lambda *_: None)
        save(tmp_path / "c", weights(float("inf")), ABOUT)
    with pytest.raises(InputError, match=r"weight 'a\.weight' is not finite"):
        load(tmp_path / "c")


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of kind 'vidoe'; known are tokenizer, video"):
        save(tmp_path / "c", weights(1.0), {"kind": "vidoe"})
    with pytest.raises(InputError, match="only plain values can be kept"):
        save(tmp_path / "c", weights(1.0), {**ABOUT, "thing": object()})
