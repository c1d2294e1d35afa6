# pyright: reportMissingImports=false
"""Read a dataset with the real lerobot 0.4.4 and write what it saw into an .npz file.

Runs in an environment of its own (`make lerobot-env`), which knows nothing of palletlab:

    python read_with_lerobot.py DATASET RESULT.npz

What is real there: lerobot 0.4.4, its readers, `datasets`, torchvision's video reader, PyAV. What is not as lerobot
pins it: torch is the newer CPU build, because the pinned versions come with CUDA and several gigabytes. torchvision's
compiled operators do not load into it, so the one operator that torchvision needs at import (`nms`, for detection,
never used here) is declared below without a body.
"""

import sys
import warnings

import numpy as np
import torch

operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
warnings.filterwarnings("ignore", module="torchvision")

import lerobot  # noqa: E402
from lerobot.datasets.compute_stats import aggregate_stats  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata  # noqa: E402
from lerobot.datasets.utils import dataset_to_policy_features, load_nested_dataset, unflatten_dict  # noqa: E402


def main(root: str, result: str) -> None:
    """Read every frame of every episode, a window of frames, and merge the episodes' statistics as lerobot does."""
    metadata = LeRobotDatasetMetadata("palletlab/test", root=root)
    seen: dict[str, object] = {"version": lerobot.__version__, "robot_type": metadata.robot_type}
    seen["policy_features"] = sorted(
        f"{k} {v.type.name}" for k, v in dataset_to_policy_features(metadata.features).items()
    )
    seen |= {f"stats/{key}/{name}": v for key, entries in metadata.stats.items() for name, v in entries.items()}
    merged = aggregate_stats([unflatten_dict(row)["stats"] for row in rows_of_statistics(metadata)])
    seen |= {f"merged/{key}/{name}": v for key, entries in merged.items() for name, v in entries.items()}

    dataset = LeRobotDataset("palletlab/test", root=root, video_backend="pyav")
    seen |= {"frames": len(dataset), "episodes": dataset.num_episodes, "fps": dataset.fps}
    items = [dataset[index] for index in range(len(dataset))]
    seen |= {f"column/{key}": np.stack([item[key].numpy() for item in items]) for key in items[0] if key != "task"}
    seen["task"] = [item["task"] for item in items]

    # The last episode only, and two images and three actions at once, as a policy's training reads them.
    camera = metadata.video_keys[0]
    window = {camera: [-1 / dataset.fps, 0.0], "action": [k / dataset.fps for k in range(3)]}
    last = LeRobotDataset(
        "palletlab/test",
        root=root,
        video_backend="pyav",
        episodes=[dataset.num_episodes - 1],
        delta_timestamps=window,
    )
    seen |= {
        "window/frames": len(last),
        "window/image": last[1][camera].numpy(),
        "window/action": last[1]["action"].numpy(),
    }
    np.savez(result, **seen)  # type: ignore[arg-type]


def rows_of_statistics(metadata: LeRobotDatasetMetadata) -> list[dict[str, np.ndarray]]:
    """The statistics in each row of `meta/episodes`, as lerobot's own tools take them from there."""
    table = load_nested_dataset(metadata.root / "meta/episodes")
    return [{key: np.array(value) for key, value in row.items() if key.startswith("stats/")} for row in table]


if __name__ == "__main__":
    main(*sys.argv[1:])
