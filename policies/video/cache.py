"""What the video model has seen: keys and values of the newest frames and of the first ones, in memory of fixed size.

Each layer keeps its own reach of frames, in a ring. A ring has `spare` slots beyond its reach: frames that are only
imagined are written there and can be dropped again (`mark`, `rewind`) without having displaced anything. The layers
that reach farthest also keep the first `anchors` frames of the stream for good, which then stand right behind the reach
(Xiao et al., "attention sinks", arXiv 2309.17453).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from policies.nn.layers import rotary, turn


@dataclasses.dataclass
class Layer:
    """One layer's memory.

    Attributes:
        reach: frames that a frame sees, itself among them.
        keys, values: (rows, tokens, heads, slots, width) of the newest frames, keys turned to their positions.
        first_keys, first_values: (rows, tokens, heads, anchors, width) of the first frames, keys not turned.
    """

    reach: int
    keys: Tensor
    values: Tensor
    first_keys: Tensor
    first_values: Tensor


class Cache:
    """Memory of a batch of independent streams, one a row; all rows take a frame at once.

    Attributes:
        frames: (rows,) how many frames each row has taken.
        previous: (rows, tokens, latent) the newest frame of each row; zeros before the first.
    """

    def __init__(
        self,
        reaches: Sequence[int],
        rows: int,
        shape: tuple[int, int, int],
        latent: int,
        anchors: int = 0,
        spare: int = 16,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        """Make empty memory.

        Args:
            reaches: of each layer, in frames.
            rows: streams.
            shape: tokens of a frame, heads of keys and values, width of a head.
            latent: numbers of a token.
            anchors: first frames that the layers of the farthest reach keep.
            spare: how many frames can be imagined before a `rewind`.
            dtype: of keys and values.
            device: where the memory lies.
        """
        tokens, heads, width = shape
        self.spare, self.width = spare, width

        def empty(frames: int) -> Tensor:
            return torch.zeros(rows, tokens, heads, frames, width, dtype=dtype, device=device)

        self.layers: list[Layer] = []
        for reach in reaches:
            kept = anchors if reach == max(reaches) else 0
            self.layers.append(Layer(reach, empty(reach + spare), empty(reach + spare), empty(kept), empty(kept)))
        self.frames = torch.zeros(rows, dtype=torch.long, device=device)
        self.previous = torch.zeros(rows, tokens, latent, device=device)
        self._marked: tuple[Tensor, Tensor] | None = None
        self._ahead = 0  # frames written since the mark
        self._plans: dict[tuple[int, int], Plan] = {}

    @property
    def rows(self) -> int:
        """How many streams."""
        return len(self.frames)

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        parts = [t for y in self.layers for t in (y.keys, y.values, y.first_keys, y.first_values)]
        return sum(t.numel() * t.element_size() for t in parts)

    def reset(self, rows: Tensor | Sequence[int] | None = None) -> None:
        """Forget everything, of all rows or of those given; and the mark."""
        which = slice(None) if rows is None else torch.as_tensor(rows, device=self.frames.device)
        self.frames[which] = 0
        self.previous[which] = 0.0
        self._marked = None
        self._changed()

    def mark(self) -> None:
        """Remember this moment: what is written from here on can be dropped."""
        self._marked, self._ahead = (self.frames.clone(), self.previous.clone()), 0

    def rewind(self) -> None:
        """Drop every frame written since the mark; the mark stays."""
        if self._marked is None:
            raise RuntimeError("rewind without a mark")
        if self._ahead > self.spare:
            raise RuntimeError(f"{self._ahead} frames were written since the mark, only {self.spare} can be dropped")
        self.frames, self.previous, self._ahead = self._marked[0].clone(), self._marked[1].clone(), 0
        self._changed()

    def take(self, rows: Tensor | Sequence[int]) -> Cache:
        """Return a copy of some rows, as a cache of its own, without a mark."""
        which = torch.as_tensor(rows, device=self.frames.device)
        part = object.__new__(Cache)
        part.spare, part.width = self.spare, self.width
        part.layers = [
            Layer(y.reach, y.keys[which], y.values[which], y.first_keys[which], y.first_values[which])
            for y in self.layers
        ]
        part.frames, part.previous = self.frames[which], self.previous[which]
        part._marked, part._ahead, part._plans = None, 0, {}
        return part

    def place(self, rows: Tensor | Sequence[int], part: Cache) -> None:
        """Put rows of another cache of the same model, such as `take` gave, in the place of some of this one."""
        which = torch.as_tensor(rows, device=self.frames.device)
        for own, other in zip(self.layers, part.layers, strict=True):
            for name in ("keys", "values", "first_keys", "first_values"):
                getattr(own, name)[which] = getattr(other, name)
        self.frames[which], self.previous[which] = part.frames, part.previous
        self._marked = None
        self._changed()

    def advance(self, latents: Tensor) -> None:
        """Count a frame that all layers have written; `latents` (rows, tokens, latent)."""
        self.frames = self.frames + 1
        self.previous = latents.to(self.previous.dtype, copy=True)
        self._ahead += 1
        self._changed()

    def plan(self, number: int) -> Plan:
        """Return where layer `number` writes and looks at the present frame; worked out once for layers alike."""
        layer = self.layers[number]
        key = layer.reach, layer.first_keys.shape[3]
        if key not in self._plans:
            self._plans[key] = Plan(self.frames, layer, self.width)
        return self._plans[key]

    def _changed(self) -> None:
        self._plans = {}


class Plan:
    """Where a layer writes and looks when the frame number `frames` (rows,) of each row comes."""

    def __init__(self, frames: Tensor, layer: Layer, width: int) -> None:
        slots, anchors = layer.keys.shape[3], layer.first_keys.shape[3]
        self.anchors = anchors
        self.slot = frames % slots
        away = (frames[:, None] - 1 - torch.arange(slots, device=frames.device)) % slots + 1
        seen = (away < layer.reach) & (away <= frames[:, None])
        number = torch.arange(anchors, device=frames.device)
        beyond = frames[:, None] - number >= layer.reach
        if not bool(beyond.any()):
            self.anchors = 0
        # Anchors stand at the distance that they had when they left the reach, one behind the other.
        distance = layer.reach + anchors - 1 - number
        self.first_turn = [t[:, None, None] for t in rotary(frames[:, None] - distance, width)]
        self.frames, self.keeps = frames, bool((frames < anchors).any())
        itself = torch.ones(len(frames), 1, dtype=torch.bool, device=frames.device)
        parts = [seen, itself, beyond[:, : self.anchors]]
        self.mask = torch.zeros(len(frames), sum(p.shape[1] for p in parts), device=frames.device)
        self.mask = self.mask.masked_fill(~torch.cat(parts, dim=1), -torch.inf)[:, None, None, None]
        if bool(seen.all()) and bool(beyond.all() | (self.anchors == 0)):
            self.mask = None
        self.turn = [t[:, None, None, None] for t in rotary(frames, width)]

    def attend(self, layer: Layer, query: Tensor, key: Tensor, value: Tensor, write: bool) -> Tensor:
        """Return what the present frame sees of the past and of itself; remember it if `write`.

        Args:
            layer: the memory that this plan is of.
            query: (rows, tokens, heads of keys, group, width), not turned.
            key, value: (rows, tokens, heads of keys, 1, width) of the present frame, the key not turned.
            write: whether the frame stays.
        """
        bare = key
        query, key = turn(query, *self.turn), turn(key, *self.turn)
        # All slots are looked at, also empty ones: a part of the ring is not contiguous, and copied on a CPU.
        keys, values = [layer.keys, key], [layer.values, value]
        if self.anchors:
            keys.append(turn(layer.first_keys, *self.first_turn))
            values.append(layer.first_values)
        # Scores are joined, not keys: the memory is read in place.
        query = query * query.shape[-1] ** -0.5
        scores = torch.cat([query @ k.transpose(-1, -2) for k in keys], dim=-1)
        if self.mask is not None:
            scores = scores + self.mask.to(scores.dtype)
        shares = scores.softmax(-1).split([k.shape[3] for k in keys], dim=-1)
        seen = shares[0] @ values[0]
        for share, more in zip(shares[1:], values[1:], strict=True):
            seen = seen + share @ more
        if write:
            rows = torch.arange(len(self.slot), device=self.slot.device)
            layer.keys[rows, :, :, self.slot] = key[:, :, :, 0].to(layer.keys.dtype)
            layer.values[rows, :, :, self.slot] = value[:, :, :, 0].to(layer.values.dtype)
            if self.keeps:
                young = (self.frames < layer.first_keys.shape[3]).nonzero()[:, 0]
                layer.first_keys[young, :, :, self.frames[young]] = bare[young, :, :, 0].to(layer.keys.dtype)
                layer.first_values[young, :, :, self.frames[young]] = value[young, :, :, 0].to(layer.keys.dtype)
        return seen
