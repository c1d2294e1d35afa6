# pyright: reportMissingImports=false
"""Train or drive a policy of the real lerobot 0.4.4: its networks, its normalization, its optimizer, its statistics.

Runs in an environment of its own (`make lerobot-env`), where `benchmarks.peers` starts it:

    python peers_lerobot.py train act|diffusion DATASET FOLDER MINUTES SIZE BATCH '{"dim_model": 256}'
    python peers_lerobot.py serve act|diffusion FOLDER

Only the frames are decoded by our reader, once, since the policies are given minutes and are not to spend them on
video; what else is not real is said in `tests/compat/read_with_lerobot.py`. Like every policy here, the peers do not
see `observation.environment_state`, the truth of the simulation.
"""

import json
import os
import pickle
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch

operators = torch.library.Library("torchvision", "DEF")
operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
warnings.filterwarnings("ignore", module="torchvision")

from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata  # noqa: E402
from lerobot.datasets.utils import dataset_to_policy_features  # noqa: E402
from lerobot.policies.factory import (  # noqa: E402
    get_policy_class,
    make_policy_config,
    make_pre_post_processors,
)

from policies.data.frames import prepare  # noqa: E402
from policies.data.lerobot import LeRobotDataset  # noqa: E402
from policies.data.view import View  # noqa: E402

# As published, but for chunks of as many seconds at our rate, ACT without weights from elsewhere, and diffusion with
# ten denoising steps in place of a hundred.
SETTINGS: dict[str, dict[str, Any]] = {
    "act": {"chunk_size": 20, "n_action_steps": 10, "pretrained_backbone_weights": None},
    "diffusion": {"noise_scheduler_type": "DDIM", "num_inference_steps": 10},
}
CAMERA = "observation.images."


def train(
    kind: str, dataset: str, folder: str, minutes: str, size: str = "128", batch: str = "8", more: str = "{}"
) -> None:
    """Train for so many minutes of the clock on views of `size` pixels; tell how far it came, as a line of JSON."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    metadata = LeRobotDatasetMetadata("palletlab/peers", root=dataset)
    source = LeRobotDataset(dataset)
    prepared = prepare(source, [View(name, size=int(size)) for name in source.cameras], source.fps)
    columns = [source.columns(episode) for episode in range(len(source))]
    state, action = (np.concatenate([c[key] for c in columns]) for key in ("observation.state", "action"))
    ends = np.repeat(prepared.starts[1:], np.diff(prepared.starts)) - 1
    begins = np.repeat(prepared.starts[:-1], np.diff(prepared.starts))

    features = dataset_to_policy_features(metadata.features)
    for key in [key for key in features if key.startswith(CAMERA)]:
        features[key] = PolicyFeature(FeatureType.VISUAL, (3, int(size), int(size)))
    seen = {k: f for k, f in features.items() if f.type in (FeatureType.STATE, FeatureType.VISUAL)}
    asked = {k: f for k, f in features.items() if f.type == FeatureType.ACTION}
    config = make_policy_config(
        kind, input_features=seen, output_features=asked, device=device, **(SETTINGS[kind] | json.loads(more))
    )
    before, _ = make_pre_post_processors(config, dataset_stats=metadata.stats)
    policy = get_policy_class(kind)(config).to(device).train()
    preset = config.get_optimizer_preset()
    optimizer = preset.build(policy.get_optim_params())
    past = np.array(config.observation_delta_indices or [0])
    ahead = np.array(config.action_delta_indices)
    draw, began, step, loss = np.random.default_rng(0), time.monotonic(), 0, torch.zeros(())
    while time.monotonic() - began < 60 * float(minutes):
        now = draw.integers(len(action), size=(int(batch), 1))
        # Beyond an episode's ends its first and last frames stand, as in lerobot's own dataset.
        looked, acted = np.maximum(now + past, begins[now]), np.minimum(now + ahead, ends[now])
        if config.n_obs_steps == 1:
            looked = looked[:, 0]
        frames = {CAMERA + name: planes(array[looked]) for name, array in prepared.frames.items()}
        told = frames | {"observation.state": torch.from_numpy(state[looked])}
        told |= {"action": torch.from_numpy(action[acted]), "action_is_pad": torch.from_numpy(now + ahead > ends[now])}
        loss, _ = policy.forward(before(told))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), preset.grad_clip_norm)
        optimizer.step()
        step += 1
    policy.save_pretrained(folder)
    before, after = make_pre_post_processors(config, dataset_stats=metadata.stats)
    before.save_pretrained(folder)
    after.save_pretrained(folder)
    weights = sum(p.numel() for p in policy.parameters())
    print(json.dumps({"steps": step, "loss": loss.item(), "parameters": weights}))


def serve(kind: str, folder: str) -> None:
    """Answer what comes in by what goes out: pickled ("reset", worlds, seeds), ("act", worlds, observation)."""
    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed must not get in between
    torch.set_num_threads(1)
    policy = get_policy_class(kind).from_pretrained(folder).eval()
    driver = Driver(policy, *make_pre_post_processors(policy.config, pretrained_path=folder))
    pickle.dump(sorted(k.removeprefix(CAMERA) for k in policy.config.image_features), outward)
    outward.flush()
    while True:
        try:
            what, worlds, given = pickle.load(inward)
        except EOFError:
            return
        answer = driver.reset(worlds, given) if what == "reset" else driver.act(worlds, given)
        pickle.dump(answer, outward)
        outward.flush()


class Driver:
    """Drives many worlds, each in its own time; lerobot's own queues are those of one world."""

    def __init__(self, policy: Any, before: Any, after: Any) -> None:
        self.policy, self.before, self.after, self.config = policy, before, after, policy.config
        self.seen: dict[int, list[dict[str, torch.Tensor]]] = {}
        self.ahead: dict[int, list[np.ndarray]] = {}
        self.noise: dict[int, torch.Generator] = {}

    def reset(self, worlds: list[int], seeds: list[int]) -> None:
        """Begin episodes."""
        for world, seed in zip(worlds, seeds, strict=True):
            self.seen[world], self.ahead[world] = [], []
            self.noise[world] = torch.Generator().manual_seed(int(seed))

    @torch.no_grad()
    def act(self, worlds: list[int], observation: dict[str, np.ndarray]) -> np.ndarray:
        """Return the next action (n, A) of each world."""
        for k, world in enumerate(worlds):
            frame: dict[str, torch.Tensor] = {"observation.state": torch.from_numpy(observation["state"][k]).float()}
            for key, feature in self.config.image_features.items():
                small = View("", size=feature.shape[-1]).of(observation[key.removeprefix(CAMERA)][k])
                frame[key] = planes(small)
            past = self.seen[world] or [frame] * self.config.n_obs_steps
            self.seen[world] = [*past, frame][-self.config.n_obs_steps :]
            if not self.ahead[world]:
                self.ahead[world] = list(self.decide(world))
        return np.stack([self.ahead[world].pop(0) for world in worlds])

    def decide(self, world: int) -> np.ndarray:
        """Return the actions (n_action_steps, A) to be executed next."""
        frames = self.seen[world]
        if self.config.n_obs_steps == 1:
            actions = self.policy.predict_action_chunk(self.before(frames[0]))[:, : self.config.n_action_steps]
        else:
            told = self.before({key: torch.stack([f[key] for f in frames])[None] for key in frames[0]})
            told["observation.images"] = torch.stack([told[key] for key in self.config.image_features], dim=-4)
            shape = 1, self.config.horizon, self.config.action_feature.shape[0]
            noise = torch.randn(shape, generator=self.noise[world]).to(told["observation.state"])
            actions = self.policy.diffusion.generate_actions(told, noise=noise)
        return self.after(actions)[0].float().cpu().numpy()


def planes(pictures: np.ndarray) -> torch.Tensor:
    """Return pictures (..., height, width, 3) uint8 as lerobot has them, (..., 3, height, width) in 0 … 1."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, -3))).float() / 255


if __name__ == "__main__":
    {"train": train, "serve": serve}[sys.argv[1]](*sys.argv[2:])
