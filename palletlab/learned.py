"""Learned policies in rollouts: `policy=dva checkpoint=FOLDER`. They know no task and no simulator; here both meet.

What is learned is imported when a policy is made, in the worker processes too: a rollout of the expert needs nothing of
it.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from assets.errors import InputError
from sim.cell import PERIOD
from tasks.simulation import Settings
from tasks.task import Policy

# Where each kind is loaded: `summary(folder)` and `load(folder, cell, nworld, **loop)`; and what it is.
LEARNED = {"dva": "policies.dva.load", "baseline": "policies.baselines.load"}
SAYS = {
    "dva": "Imagines the next frames and reads actions from them; checkpoint=FOLDER with video/ and idm/ in it.",
    "baseline": "Puts actions out directly, on the same backbone; checkpoint=FOLDER.",
}


@dataclasses.dataclass(frozen=True)
class Learned:
    """Makes a learned policy for so many worlds; travels to the worker processes.

    Attributes:
        module: where it is loaded.
        folder: of the checkpoint.
        settings: what is simulated.
        loop: how decisions follow each other, as far as it is not as trained.
    """

    module: str
    folder: Path
    settings: Settings
    loop: dict[str, int] = dataclasses.field(default_factory=dict)

    def __call__(self, nworld: int) -> Policy:
        """Load the checkpoint; InputError if it does not fit the settings."""
        if multiprocessing.parent_process() is not None:
            import torch

            torch.set_num_threads(1)  # a worker drives its worlds with one thread, there are as many as cores
        from policies.dva.policy import Cell

        family = self.settings.family
        robot, cameras = self.settings.layout.robot, self.settings.cameras
        cell = Cell(robot, family.state_names, family.action_names, cameras, PERIOD)
        return importlib.import_module(self.module).load(self.folder, cell, nworld, **self.loop)


def fill_in(config: DictConfig) -> None:
    """Complete the settings by what a learned policy needs: a full path, and pictures like those it was trained on.

    Raises:
        InputError: checkpoint and policy do not go together, or a camera is missing that the checkpoint sees.
    """
    kind, folder = str(config.policy), config.get("checkpoint")
    if kind not in LEARNED:
        if folder is not None:
            raise InputError(f"policy={kind} has no checkpoint; learned are {', '.join(LEARNED)}")
        return
    config.checkpoint = str(_folder(config).resolve())
    summary = _summary(config)
    cameras = summary.cameras
    if config.get("image_size") is None:
        config.image_size = summary.pixels
    if not config.render:
        config.render, config.cameras = True, list(cameras)
    missing = [name for name in cameras if name not in config.cameras]
    if missing:
        raise InputError(
            f"the checkpoint sees the camera {missing[0]!r}, which cameras={list(config.cameras)} lacks: "
            f"set cameras=[{','.join(dict.fromkeys([*config.cameras, *cameras]))}]"
        )


def learned_of(config: DictConfig, settings: Settings) -> tuple[str, Learned | None]:
    """Return by what name a run knows its policy, and what makes it if it is a learned one, of filled-in settings."""
    kind = str(config.policy)
    if kind not in LEARNED:
        return kind, None
    says: Any = OmegaConf.to_container(config.loop) if config.get("loop") is not None else {}
    loop = {str(key): value for key, value in says.items() if value is not None}
    for key, value in loop.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InputError(f"loop.{key} = {value} must be a whole number, 0 or more")
    # A run that is resumed must go on with the same policy.
    name = " ".join([kind, _summary(config).hash, *(f"{key}={value}" for key, value in loop.items())])
    return name, Learned(LEARNED[kind], _folder(config), settings, loop)


def _folder(config: DictConfig) -> Path:
    if config.get("checkpoint") is None:
        raise InputError(f"policy={config.policy} wants checkpoint=FOLDER, the folder of a trained one")
    return Path(str(config.checkpoint))


def _summary(config: DictConfig) -> Any:
    return importlib.import_module(LEARNED[str(config.policy)]).summary(_folder(config))
