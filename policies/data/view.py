"""What a policy sees of a camera: a part of its picture, made small. The same for datasets and for a live camera."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from assets.errors import InputError


@dataclasses.dataclass(frozen=True)
class View:
    """What a policy sees of a camera.

    Attributes:
        camera: the camera's name.
        crop: left, top, right, bottom of the part that is seen, as shares of width and height.
        size: [pixels] height and width of the picture it becomes, by averaging over areas.
        name: the view's name; the camera's where none is given.
    """

    camera: str
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    size: int = 64
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse an empty crop; fill in the name."""
        left, top, right, bottom = (float(edge) for edge in self.crop)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1) or self.size < 1:
            raise InputError(
                f"view of {self.camera!r}: crop {self.crop} to {self.size} pixels; wanted are left < right and "
                "top < bottom within 0..1, and a positive size"
            )
        object.__setattr__(self, "crop", (left, top, right, bottom))
        object.__setattr__(self, "name", self.name or self.camera)

    def of(self, pictures: np.ndarray) -> np.ndarray:
        """The view of pictures of the camera, uint8, (..., height, width, 3) -> (..., size, size, 3)."""
        *batch, height, width, _ = pictures.shape
        left, top, right, bottom = self.crop
        small = _average(pictures.reshape(-1, height, width * 3), height, top, bottom, self.size)
        small = _average(small.reshape(-1, width, 3), width, left, right, self.size)
        return np.rint(small).astype(np.uint8).reshape(*batch, self.size, self.size, 3)


def _average(values: np.ndarray, pixels: int, begin: float, end: float, size: int) -> np.ndarray:
    """Means float32 (n, size, m) over `size` equal parts of values (n, pixels, m) between begin and end.

    A sum over few neighbours rather than a matrix product: BLAS would start threads that get into each other's way.
    """
    indices, shares = _neighbours(pixels, begin, end, size)
    return sum(share[:, None] * values[:, index] for index, share in zip(indices, shares, strict=True))  # type: ignore


@functools.lru_cache(maxsize=32)
def _neighbours(pixels: int, begin: float, end: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels lie in each part and with what share, both (neighbours, size); shares of a part add to 1."""
    edges = np.linspace(begin, end, size + 1) * pixels
    at = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
    shares = np.where(overlap > 1e-9, overlap, 0.0)
    shares /= shares.sum(1, keepdims=True)
    first, count = (shares > 0).argmax(1), (shares > 0).sum(1).max()
    indices = np.minimum(first + np.arange(count)[:, None], pixels - 1)
    within = first + np.arange(count)[:, None] < pixels
    return indices, (shares[np.arange(size), indices] * within).astype(np.float32)
