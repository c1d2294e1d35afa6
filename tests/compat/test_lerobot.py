"""Our datasets in the hands of the real lerobot, in an environment of its own.

lerobot needs other versions than we do. `make lerobot-env` builds such an environment; PALLETLAB_LEROBOT_PYTHON names
its interpreter.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.dataset.lerobot_format import Features
from tasks.dataset.publisher import Publisher
from tasks.dataset.reader import open_dataset
from tasks.dataset.staging import EpisodeWriter

TASKS = ("empty the tote", "fold the tote")
PYTHON = os.environ.get("PALLETLAB_LEROBOT_PYTHON", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON, reason="PALLETLAB_LEROBOT_PYTHON names no interpreter (make lerobot-env builds one)"
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 7, 8 and 9 frames at 15 frames per second, two cameras; two tasks, one after the other."""
    root = tmp_path_factory.mktemp("lerobot") / "dataset"
    features = Features(
        fps=15,
        robot_type="ur20",
        cameras={"cell": (64, 96), "wrist": (48, 48)},
        state_names=("joint_1.position", "joint_2.position"),
        action_names=("joint_1", "joint_2", "suction"),
        tasks=TASKS,
        environment_state_names=("carton.x",),
    )
    rng = np.random.default_rng(0)
    with Publisher(root, features, {"seed": 0}, range(3)) as publisher:
        for variant in range(3):
            writer = EpisodeWriter(root, features, variant)
            length = 7 + variant
            for frame in range(length):
                writer.add_frame(
                    {name: picture(*size, 10 * variant + frame) for name, size in features.cameras.items()},
                    state=rng.normal(size=2),
                    action=rng.normal(size=3),
                    environment_state=rng.normal(size=1),
                    reward=0.1 * frame,
                    done=frame == length - 1,
                    success=frame == length - 1,
                    full_state=rng.normal(size=11),
                    task=TASKS[int(frame >= 5)],
                )
            writer.close({}, rng.normal(size=11))
        publisher.finish()
    return root


def picture(height: int, width: int, number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A smooth picture whose brightness tells its number."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x + 5 * number, y + 5 * number, 50 + 0 * x + 5 * number], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def seen(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What lerobot saw."""
    folder = tmp_path_factory.mktemp("result")
    script = Path(__file__).with_name("read_with_lerobot.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)}
    run = subprocess.run(
        [PYTHON, str(script), str(root), str(folder / "seen.npz")],
        env=environment,
        cwd=folder,  # away from our packages
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    with np.load(folder / "seen.npz") as file:
        return dict(file)


def test_lerobot_counts_the_same(root: Path, seen: dict[str, Any]) -> None:
    assert str(seen["version"]).startswith("0.4.")
    assert (seen["episodes"], seen["frames"], seen["fps"]) == (3, 24, 15)
    assert seen["policy_features"].tolist() == [
        "action ACTION",
        "observation.environment_state ENV",
        "observation.images.cell VISUAL",
        "observation.images.wrist VISUAL",
        "observation.state STATE",
    ]
    assert seen["task"].tolist() == [TASKS[int(frame >= 5)] for length in (7, 8, 9) for frame in range(length)]


def test_lerobot_reads_the_same_values(root: Path, seen: dict[str, Any]) -> None:
    dataset = open_dataset(root)
    episodes = [dataset.episode(number) for number in range(3)]
    for key in episodes[0]:
        ours = np.concatenate([columns[key] for columns in episodes])
        np.testing.assert_array_equal(seen[f"column/{key}"].reshape(ours.shape), ours, err_msg=key)


def test_lerobot_decodes_the_same_images(root: Path, seen: dict[str, Any]) -> None:
    dataset = open_dataset(root)
    for camera in dataset.features.cameras:
        ours = np.concatenate([dataset.frames(number, camera) for number in range(3)])
        theirs = seen[f"column/observation.images.{camera}"].transpose(0, 2, 3, 1) * 255
        # Their older FFmpeg may round the colour conversion otherwise.
        assert np.abs(theirs - ours).max() <= 3
        height, width = dataset.features.cameras[camera]
        written = np.stack([picture(height, width, 10 * v + k) for v in range(3) for k in range(7 + v)])
        distances = np.abs(theirs[:, None] - written[None]).mean(axis=(2, 3, 4))
        assert distances.diagonal().max() < 4
        np.testing.assert_array_equal(distances.argmin(axis=1), np.arange(24))  # none is its neighbour


def test_lerobot_reads_windows(root: Path, seen: dict[str, Any]) -> None:
    dataset = open_dataset(root)
    assert seen["window/frames"] == 9
    images = dataset.frames(2, "cell", 0, 2)
    assert np.abs(seen["window/image"].transpose(0, 2, 3, 1) * 255 - images).max() <= 3
    np.testing.assert_array_equal(seen["window/action"], dataset.episode(2)["action"][1:4])


def test_lerobot_merges_the_statistics_to_the_same(seen: dict[str, Any]) -> None:
    keys = [key.removeprefix("stats/") for key in seen if key.startswith("stats/")]
    assert len(keys) == 10 * 13
    for key in keys:
        np.testing.assert_allclose(seen[f"stats/{key}"], seen[f"merged/{key}"], rtol=1e-9, atol=1e-12, err_msg=key)
