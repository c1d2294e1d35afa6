"""`palletlab view`: a page with the episodes' videos, plots of joints, torque and suction, and the table of knobs."""

from __future__ import annotations

from pathlib import Path

from palletlab import config as settings
from palletlab.report import dataset_page
from tasks.dataset.reader import open_dataset


def run(arguments: list[str]) -> int:
    """Write the page beside the dataset, or where `out` says."""
    arguments = [a if "=" in a else f"dataset={a}" for a in arguments]
    config = settings.load("view", arguments)
    root = Path(settings.required(config, "dataset", "view wants a dataset: palletlab view outputs/.../dataset"))
    dataset = open_dataset(root)
    out = root.parent / "view.html" if config.out is None else Path(str(config.out))
    episodes = None if config.episodes is None else [int(e) for e in config.episodes]
    dataset_page(root, out, episodes, settings.whole(config, "limit", 1))
    print(f"{len(dataset)} episodes")
    print(out)
    return 0
