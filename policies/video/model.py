"""The causal video model: a transformer over latents, dense within a frame, causal over time.

A frame is the latents of all views, a token each. The model is given frames that are noised, each at a level of its
own, and predicts the clean ones (flow matching with prediction of x: Li and He, "Back to Basics", arXiv 2511.13720;
a level for every frame: Chen et al., "Diffusion Forcing", arXiv 2407.01392). What it adds is the difference to the
frame before: with nothing learned, it says that nothing moves.

In training every frame goes in twice, as two streams: clean, as context, and noised, as a question. A noised frame sees
the clean ones before it and itself, so that all frames of a window are asked at once, each on the context that it will
have when the model runs. `step` does the same one frame after another with a `Cache`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from assets.errors import InputError
from policies.nn.layers import Attention, Feedforward, Modulation, modulate, norm, rotary, turn
from policies.video.cache import Cache
from policies.video.condition import Condition, ConditionEmbedding
from policies.video.flow import at_level, draw_known, draw_levels


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """What a video model is made of; the defaults are `nano`.

    Attributes:
        width, depth, heads: of the transformer.
        kv_heads: heads of keys and values in time, shared by groups of heads: what has to be remembered.
        hidden: width of the feedforward layers, in widths.
        views, tokens, latent: cameras, tokens of a camera's picture, numbers of a token.
        context: frames that the far layers see.
        local: frames that the other layers see.
        far: every `far`-th layer, counted back from the last, is a far one.
        anchors: first frames of a stream that the far layers never forget.
        proprio: numbers of the body: positions, torques, tool.
        actions: numbers of the actions between two frames (stride * A).
        tasks, embodiments: how many there are.
        text: features of a task's text from an encoder, 0 for none.
        chunk: frames that are decided at once: what is known in training comes in runs of these.
        context_noise: highest level of noise on the context in training.
        moving: weight of what changes between two frames, over that of what stands still.
    """

    width: int = 256
    depth: int = 4
    heads: int = 4
    kv_heads: int = 1
    hidden: int = 4
    views: int = 2
    tokens: int = 8
    latent: int = 64
    context: int = 256
    local: int = 32
    far: int = 2
    anchors: int = 4
    proprio: int = 0
    actions: int = 0
    tasks: int = 1
    embodiments: int = 1
    text: int = 0
    chunk: int = 4
    context_noise: float = 0.15
    moving: float = 6.0

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "kv_heads", "hidden", "views", "tokens", "latent", "far", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"video model: {name} = {getattr(self, name)} must be at least 1")
        if self.width % (2 * self.heads) or self.heads % self.kv_heads:
            raise InputError(
                f"video model: width {self.width}, heads {self.heads}, kv_heads {self.kv_heads} do not fit: "
                "a head needs an even width, and heads come in equal groups"
            )
        if self.context < 2 or self.local < 2:
            raise InputError(f"video model: context {self.context} and local {self.local} must be at least 2 frames")

    @property
    def reaches(self) -> list[int]:
        """Frames that each layer sees."""
        last = self.depth - 1
        return [
            self.context if (last - i) % self.far == 0 else min(self.local, self.context) for i in range(self.depth)
        ]


class TimeAttention(nn.Module):
    """Each token looks at the tokens in its place in earlier frames. Heads share keys and values in groups."""

    def __init__(self, width: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.shape = (kv_heads, heads // kv_heads, width // heads)
        self.query = nn.Linear(width, width, bias=False)
        self.keyvalue = nn.Linear(width, 2 * kv_heads * (width // heads), bias=False)
        self.outward = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.outward.weight)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Mix x (B, streams, T, N, width) over T; the second stream, if any, sees the first one's past and itself.

        Args:
            x: the tokens; the first stream is the context of all.
            turns: `rotary` of the T positions.
            mask: (T, T), added to the scores.
        """
        kv_heads, group, head = self.shape
        streams, frames = x.shape[1:3]
        # Queries become (B, N, kv_heads, group, streams, T, head), keys and values lack the group.
        query = self.query(x).unflatten(-1, self.shape).permute(0, 3, 4, 5, 1, 2, 6)
        key, value = self.keyvalue(x).unflatten(-1, (2, kv_heads, head)).permute(4, 0, 3, 5, 1, 2, 6)
        query, key = turn(norm(query), *turns) * head**-0.5, turn(norm(key), *turns)
        scores = query.flatten(3, 5) @ key[:, :, :, 0].transpose(-1, -2)
        scores = scores.unflatten(3, (group, streams, frames)) + mask.to(scores.dtype)
        if streams == 1:
            seen = scores.softmax(-1).flatten(3, 5) @ value[:, :, :, 0]
            seen = seen.unflatten(3, (group, streams, frames))
        else:
            # A noised frame stands in its own context in the place of the clean one, of which nothing may be seen.
            place = torch.eye(frames, dtype=torch.bool, device=x.device).expand(2, -1, -1).clone()
            place[0] = False
            own = (query[..., 1, :, :] * key[:, :, :, None, 1]).sum(-1)
            share = torch.where(place, own[..., None, :, None], scores).softmax(-1)
            itself = share[..., 1, :, :].diagonal(dim1=-2, dim2=-1)[..., None] * value[:, :, :, None, 1]
            seen = share.masked_fill(place, 0.0).flatten(3, 5) @ value[:, :, :, 0]
            clean, noised = seen.unflatten(3, (group, streams, frames)).unbind(4)
            seen = torch.stack([clean, noised + itself], dim=4)
        return self.outward(seen.permute(0, 4, 5, 1, 2, 3, 6).flatten(-3))

    def step(self, x: Tensor, cache: Cache, layer: int, write: bool) -> Tensor:
        """Mix one frame x (B, 1, 1, N, width) with what `layer` of the cache has seen; remember it if `write`."""
        kv_heads, _, head = self.shape
        query = norm(self.query(x[:, 0, 0]).unflatten(-1, self.shape))
        key, value = self.keyvalue(x[:, 0, 0]).unflatten(-1, (2, kv_heads, 1, head)).unbind(2)
        seen = cache.plan(layer).attend(cache.layers[layer], query, norm(key), value, write)
        return self.outward(seen.flatten(-3))[:, None, None]


class Block(nn.Module):
    """Space, time, feedforward, each behind a norm that the frame's condition modulates."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.space = Attention(config.width, config.heads)
        self.time = TimeAttention(config.width, config.heads, config.kv_heads)
        self.feedforward = Feedforward(config.width, config.hidden * config.width)
        self.offsets = nn.Parameter(torch.zeros(3, 2, config.width))


class VideoModel(nn.Module):
    """Predicts the next frame's latents; see the module."""

    def __init__(self, config: VideoConfig) -> None:
        super().__init__()
        self.config = config
        self.condition = ConditionEmbedding(
            config.width, config.proprio, config.actions, config.tasks, config.embodiments, config.text
        )
        self.inward = nn.Linear(2 * config.latent, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(config.views * config.tokens, config.width))
        self.modulation = Modulation(config.width, config.width, 4)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.outward = nn.Linear(config.width, config.latent)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    @property
    def parameters_count(self) -> int:
        """How many parameters."""
        return sum(p.numel() for p in self.parameters())

    def cache(self, rows: int, spare: int = 16) -> Cache:
        """Return an empty memory for `rows` streams, in which `spare` frames can be imagined and dropped."""
        c, weight = self.config, self.inward.weight
        shape = (c.views * c.tokens, c.kv_heads, c.width // c.heads)
        return Cache(c.reaches, rows, shape, c.latent, c.anchors, spare, weight.dtype, weight.device)

    def forward(self, latents: Tensor, level: Tensor, condition: Condition) -> Tensor:
        """Return clean frames (B, T, N, D) for frames noised at `level` (B, T), each predicted from those before it.

        One stream and no cache: what `step` gives, for all frames at once; but beyond the context it sees no anchors.
        """
        before = torch.cat([torch.zeros_like(latents[:, :1]), latents[:, :-1]], dim=1)
        return self._predict(latents[:, None], before[:, None], self.condition(level, condition)[:, None])

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the loss of windows of clean latents (B, T, N, D), and parts of it.

        Args:
            latents: normalized to unit variance.
            condition: what is known of each frame; what of it is hidden from the model is drawn here.
            generator: of everything drawn.

        Returns:
            loss: mean square error of the flow's velocity, weighted towards what changes.
            error: mean square error of the prediction from pure noise alone, unweighted.
            still: the same for saying that nothing moves.
        """
        c, (rows, frames), device = self.config, latents.shape[:2], latents.device
        known = draw_known(rows, frames, c.chunk, generator, device)
        level = draw_levels(rows, frames, generator, device)
        slight = c.context_noise * (2 * torch.rand(rows, frames, generator=generator) - 1).clamp(min=0).to(device)
        context = at_level(latents, slight, generator)
        told = condition.hidden(known.body, known.actions), condition.hidden(known.body & False, known.asked)
        predicted = self.answer(context, slight, at_level(latents, level, generator), level, *told)
        # The first frame has no past: there is nothing to learn from it.
        error = (predicted - latents)[:, 1:].float().square().mean(-1)
        change = (latents[:, 1:] - latents[:, :-1]).float().square().mean(-1)
        weight = 1 + c.moving * change / (change + change.mean() + 1e-6)
        velocity = error / level[:, 1:, None].clamp(min=0.2).square()
        blind = level[:, 1:] == 1
        return {
            "loss": (velocity * weight).mean() / weight.mean(),
            "error": _mean_where(error.detach(), blind),
            "still": _mean_where(change, blind),
        }

    def answer(
        self,
        context: Tensor,
        slight: Tensor,
        question: Tensor,
        level: Tensor,
        condition: Condition,
        asked: Condition,
    ) -> Tensor:
        """Return the clean frames (B, T, N, D) of a question, each predicted from the context before it.

        All frames are asked at once (two streams), so that this trains the model, or gives an inverse dynamics model
        frames to learn from that are as wrong as those it will read.

        Args:
            context: (B, T, N, D), noised at `slight` (B, T), which is 0 or little.
            slight: as said.
            question: the same frames, noised at `level` (B, T).
            level: as said.
            condition: of the context.
            asked: of the question; with its body known it would be told what it is asked.
        """
        before = torch.cat([torch.zeros_like(context[:, :1]), context[:, :-1]], dim=1)
        vectors = [self.condition(slight, condition), self.condition(level, asked)]
        streams = torch.stack([context, question], dim=1)
        return self._predict(streams, torch.stack([before, before], 1), torch.stack(vectors, 1))

    def step(self, latents: Tensor, level: Tensor, condition: Condition, cache: Cache, write: bool = False) -> Tensor:
        """Return the clean frame (B, 1, N, D) predicted from one frame, given all that the cache has seen.

        Args:
            latents: (B, 1, N, D) the frame, noised at `level`; with `write`, a frame that has happened or is settled.
            level: (B,) its noise level, 0 for a real frame.
            condition: of this frame (T = 1).
            cache: what was seen before.
            write: whether the frame becomes part of the context; what is returned then is of no use.
        """
        vector = self.condition(level[:, None], condition)[:, None]
        predicted = self._predict(latents[:, None], cache.previous[:, None, None], vector, cache, write)
        if write:
            cache.advance(latents[:, 0])
        return predicted

    def _predict(
        self, latents: Tensor, before: Tensor, vector: Tensor, cache: Cache | None = None, write: bool = False
    ) -> Tensor:
        """Return clean frames (B, T, N, D), of the last stream; arguments as of `_features`."""
        change = self.outward(self._features(latents, before, vector, cache, write))
        return before[:, -1] + change[:, -1].to(before.dtype)

    def _features(
        self, latents: Tensor, before: Tensor, vector: Tensor, cache: Cache | None = None, write: bool = False
    ) -> Tensor:
        """Return what is known of each frame before it is predicted, (B, 1, T, N, width), of the last stream.

        Args:
            latents: (B, S, T, N, D); S = 2 streams, context and question, or one.
            before: the frames before them.
            vector: (B, S, T, width) of noise level and condition.
            cache: what was seen, with one frame (T = 1) to be added; None: the frames given are all there is.
            write: whether the frame stays in the cache.
        """
        x = self.inward(torch.cat([latents, before], dim=-1).to(self.inward.weight.dtype))
        x = x + self.place.to(x.dtype)
        scales = self.modulation(vector).to(x.dtype)
        turns, masks = None, {}
        if cache is None:
            positions = torch.arange(latents.shape[2], device=x.device)
            turns = rotary(positions, self.config.width // self.config.heads)
            away = positions[:, None] - positions
            for reach in set(self.config.reaches):
                masks[reach] = torch.zeros(away.shape, device=x.device)
                masks[reach].masked_fill_((away < 0) | (away >= reach), -torch.inf)
        for number, (block, reach) in enumerate(zip(self.blocks, self.config.reaches, strict=True)):
            assert isinstance(block, Block)
            x = x + block.space(modulate(x, scales[0], block.offsets[0]))
            seen = modulate(x, scales[1], block.offsets[1])
            if cache is not None:
                x = x + block.time.step(seen, cache, number, write)
            elif turns is not None:
                x = x + block.time(seen, turns, masks[reach])
            if number == len(self.blocks) - 1:  # of the context, nothing more is needed
                x, scales = x[:, -1:], scales[:, :, :, -1:]
            x = x + block.feedforward(modulate(x, scales[2], block.offsets[2]))
        return modulate(x, scales[3], torch.zeros_like(scales[3][:, 0, 0, 0]))


def _mean_where(x: Tensor, where: Tensor) -> Tensor:
    """Return the mean of x (B, T, N) over the frames `where` (B, T)."""
    share = where[..., None].float()
    return (x * share).sum() / (share.sum() * x.shape[-1]).clamp(min=1)


def load_config(says: dict[str, object], where: str = "video model") -> VideoConfig:
    """Return the configuration that a dictionary says, such as a checkpoint's.

    Raises:
        InputError: a name in it is not one of a configuration's.
    """
    known = {f.name for f in dataclasses.fields(VideoConfig)}
    strange: Sequence[str] = sorted(set(says) - known)
    if strange:
        raise InputError(f"{where}: unknown setting {strange[0]!r}; known are {', '.join(sorted(known))}")
    return VideoConfig(**says)  # pyright: ignore[reportArgumentType]
