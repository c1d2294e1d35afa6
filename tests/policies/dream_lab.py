"""Networks for tests of dreams: untrained ones that fit the little cell."""

from __future__ import annotations

from pathlib import Path

import torch

from policies.data.frames import prepare
from policies.data.lerobot import LeRobotDataset
from policies.data.statistics import Statistics
from policies.data.view import View
from policies.data.windows import Windows
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.model import VideoConfig, VideoModel
from policies.video.network import Meaning, VideoNetwork, action_widths
from policies.video.tokenizer import Autoencoder

VIEWS = (View("cell", size=32), View("wrist", size=32))


def network_of(root: Path, cache: Path) -> VideoNetwork:
    """An untrained network that knows a dataset's numbers; what it imagines changes a little from frame to frame."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    windows = Windows([prepare(LeRobotDataset(root), VIEWS, 10.0, cache)], length=8)
    tokenizer = Autoencoder(size=32, channels=4, width=16, pack=(2, 2))
    proprio, actions = action_widths(windows.embodiments, windows.stride)
    config = VideoConfig(
        width=32, depth=1, heads=2, tokens=tokenizer.tokens, latent=tokenizer.dim, context=8, local=4, chunk=3,
        proprio=proprio, actions=actions, tasks=len(windows.texts), embodiments=len(windows.embodiments),
    )  # fmt: skip
    meaning = Meaning(VIEWS, 10.0, windows.stride, windows.texts, windows.embodiments, Statistics.of(windows))
    network = VideoNetwork(tokenizer, VideoModel(config), meaning)
    for weight in network.model.parameters():
        if not bool(weight.any()):  # what begins at zero, so that an untrained model says that nothing moves
            torch.nn.init.normal_(weight, std=0.1)
    return network.eval().requires_grad_(False)


def idm_of(root: Path, cache: Path) -> InverseDynamics:
    """An untrained inverse model that knows a dataset's scales."""
    torch.manual_seed(0)
    p = prepare(LeRobotDataset(root), VIEWS, 10.0, cache)
    module = InverseDynamics(IDMConfig.of(VIEWS, [p.embodiment], p.stride, width=20, depth=1, heads=2, reader=32))
    assert p.proprio is not None
    assert p.actions is not None
    module.measure(0, p.embodiment, [(torch.from_numpy(p.proprio), torch.from_numpy(p.actions))])
    return module.eval().requires_grad_(False)
