"""Variations: distributions over knobs, and drawing rows from them.

Random numbers are counter-based and keyed by (seed, variant number, knob): the same variant comes out whatever the
number of worlds, workers or engines, and adding a knob changes no other.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
import yaml

from assets.errors import InputError
from sim.knobs import Knob, Knobs, Rows


def stream(seed: int, variant: int, name: str) -> np.random.Generator:
    """Return the random stream that belongs to (seed, variant, name), e.g. a knob or a sensor."""
    word = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    key = np.array([seed & (2**64 - 1), word], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, variant]))


class Distribution(Protocol):
    """What a variation says about one knob."""

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return values of the knob's shape."""
        ...

    def bounds(self) -> tuple[Any, Any]:
        """Return the least and the greatest value that can come out (scalars or last-axis vectors)."""
        ...


@dataclasses.dataclass(frozen=True)
class Constant:
    """Always the same value (scalar, last-axis vector, or the knob's whole shape)."""

    value: Any

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return the value, broadcast; an array shorter than the first axis is padded with its last entry."""
        value = np.asarray(self.value, dtype=np.float64)
        if value.ndim == len(shape) and value.ndim and value.shape[0] < shape[0]:
            value = np.concatenate([value, np.repeat(value[-1:], shape[0] - len(value), axis=0)])
        return np.broadcast_to(value, shape).copy()

    def bounds(self) -> tuple[Any, Any]:
        """Return the value twice."""
        return self.value, self.value


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform between `low` and `high`; with a `step`, among low, low + step, ... up to and including high."""

    low: Any
    high: Any
    step: float | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return uniform values."""
        u = rng.random(shape)
        low, high = np.asarray(self.low, np.float64), np.asarray(self.high, np.float64)
        if self.step is None:
            return low + u * (high - low)
        steps = np.floor((high - low) / self.step + 1e-9)
        return low + self.step * np.minimum(np.floor(u * (steps + 1.0)), steps)

    def bounds(self) -> tuple[Any, Any]:
        """Return the two ends."""
        return self.low, self.high


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm; both ends positive."""

    low: Any
    high: Any

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return log-uniform values."""
        low, high = np.log(np.asarray(self.low, np.float64)), np.log(np.asarray(self.high, np.float64))
        return np.exp(low + rng.random(shape) * (high - low))

    def bounds(self) -> tuple[Any, Any]:
        """Return the two ends."""
        return self.low, self.high


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """Normal with mean and standard deviation, cut at `low` and `high`."""

    mean: Any
    std: Any
    low: Any
    high: Any

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return values by inverting the truncated cumulative distribution."""
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        if not (std > 0).all():
            raise ValueError("a truncated normal wants a standard deviation above zero")
        normal = NormalDist()
        cdf, quantile = np.vectorize(normal.cdf, otypes=[float]), np.vectorize(normal.inv_cdf, otypes=[float])
        a, b = cdf((np.asarray(self.low) - mean) / std), cdf((np.asarray(self.high) - mean) / std)
        # The standard library's quantile wants an open interval; the clip puts the last digit right.
        u = np.clip(a + rng.random(shape) * (b - a), 1e-15, 1.0 - 1e-15)
        return np.clip(mean + std * quantile(u), self.low, self.high)

    def bounds(self) -> tuple[Any, Any]:
        """Return where it is cut."""
        return self.low, self.high


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values, with optional weights."""

    values: Sequence[float]
    weights: Sequence[float] | None = None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return values picked independently for each element."""
        weights = np.ones(len(self.values)) if self.weights is None else np.asarray(self.weights, np.float64)
        if weights.shape != (len(self.values),) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise ValueError("a choice wants one weight for each value, none negative")
        edges = np.cumsum(weights / weights.sum())
        edges[-1] = 1.0
        return np.asarray(self.values, np.float64)[np.searchsorted(edges, rng.random(shape), side="right")]

    def bounds(self) -> tuple[Any, Any]:
        """Return the least and the greatest value."""
        return min(self.values), max(self.values)


@dataclasses.dataclass(frozen=True)
class Density:
    """A mass that goes with a size: log-uniform density [kg/m3] times the row's `carton.size` in volume, clipped."""

    low: float
    high: float
    at_least: float
    at_most: float

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return densities; `masses` turns them into masses."""
        return LogUniform(self.low, self.high).draw(rng, shape)

    def masses(self, density: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Return masses [kg] (n, ...) for densities (n, ...) and sizes (n, ..., 3)."""
        return np.clip(density * (size[..., 0] * size[..., 1] * size[..., 2]), self.at_least, self.at_most)

    def bounds(self) -> tuple[Any, Any]:
        """Return where the masses are cut."""
        return self.at_least, self.at_most


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A joint normal over several knobs: what identification found, or any correlated variation.

    Attributes:
        name: for the record and the random key.
        sizes: number of elements of each knob, in order; knobs are flattened one after another.
        mean: (k,) in the knobs' units.
        covariance: (k, k).
    """

    name: str
    sizes: Mapping[str, int]
    mean: np.ndarray
    covariance: np.ndarray

    def draw(self, seed: int, variant: int, knobs: Knobs) -> dict[str, np.ndarray]:
        """Return one joint draw, by knob, clipped to the knobs' bounds."""
        normal = stream(seed, variant, f"calibration:{self.name}").standard_normal(len(self.mean))
        # Eigenvectors instead of Cholesky: a calibration may be certain about some direction (zero variance).
        scale, directions = np.linalg.eigh(self.covariance)
        flat = self.mean + directions @ (np.sqrt(np.maximum(scale, 0.0)) * normal)
        out, at = {}, 0
        for name, size in self.sizes.items():
            value = flat[at : at + size].reshape(knobs.shape(name))
            out[name] = np.clip(value, knobs[name].lower, knobs[name].upper)
            at += size
        return out

    @staticmethod
    def read(path: Path, knobs: Knobs) -> Calibration:
        """Read a calibration YAML: `knobs: {name: mean}` and `covariance` (k, k).

        Raises:
            InputError: missing file, unknown knob, wrong shape, or a covariance that is none.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such calibration")
        try:
            data = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise InputError(f"{path}: not readable as YAML ({str(error).splitlines()[0]})") from None
        if not isinstance(data, dict) or not isinstance(data.get("knobs"), dict) or "covariance" not in data:
            raise InputError(f"{path}: a calibration has the entries `knobs` (name: mean) and `covariance`")
        means, sizes = [], {}
        for name, value in data["knobs"].items():
            want = knobs.shape(name)
            try:
                value = np.asarray(value, dtype=np.float64)
            except (ValueError, TypeError):
                value = np.array(np.nan)
            if not np.isfinite(value).all():
                raise InputError(f"{path}: knob {name}: its mean is not made of finite numbers")
            if value.shape != want:
                raise InputError(f"{path}: knob {name} has shape {value.shape}, this scene wants {want}")
            sizes[name] = int(value.size)
            means.append(value.reshape(-1))
        if not means:
            raise InputError(f"{path}: a calibration names at least one knob")
        mean, k = np.concatenate(means), sum(sizes.values())
        try:
            covariance = np.asarray(data["covariance"], dtype=np.float64)
        except (ValueError, TypeError):
            covariance = np.full((k, k), np.nan)
        if covariance.shape != (k, k) or not _is_covariance(covariance):
            raise InputError(f"{path}: covariance must be a symmetric, positive semidefinite {k} x {k} matrix")
        return Calibration(path.stem, sizes, mean, covariance)


def _is_covariance(matrix: np.ndarray) -> bool:
    """Say whether a square matrix is a covariance; judged as correlations, since knobs differ in scale by millions."""
    variance = np.diag(matrix)
    if not np.isfinite(matrix).all() or (variance < 0).any():
        return False
    scale = np.sqrt(np.outer(variance, variance))
    if (matrix[scale == 0] != 0).any():
        return False
    correlation = matrix / np.where(scale > 0, scale, 1.0)
    return np.allclose(correlation, correlation.T, atol=1e-6) and float(np.linalg.eigvalsh(correlation).min()) > -1e-6


def _flat(says: Mapping[str, Any], knobs: Knobs, prefix: str = "") -> dict[str, Any]:
    """Join nested names with dots, down to where a knob begins; what leads to no knob keeps its name."""
    flat: dict[str, Any] = {}
    for key, value in says.items():
        name = f"{prefix}{key}"
        inside = isinstance(value, Mapping) and name not in list(knobs)
        if inside and any(k.startswith(f"{name}.") for k in knobs):
            flat.update(_flat(value, knobs, f"{name}."))
        else:
            flat[name] = value
    return flat


def _distribution(knob: Knob, shape: tuple[int, ...], says: Any, where: str) -> Distribution:
    """Turn one entry of a variation file into a distribution, checking it against the knob's bounds and `shape`."""
    if not isinstance(says, Mapping):
        made: Distribution = Constant(says)
    elif len(says) != 1:
        raise InputError(f"{where}: knob {knob.name} wants one distribution, got {', '.join(map(str, says)) or 'none'}")
    else:
        kind, value = next(iter(says.items()))
        try:
            if kind == "constant":
                made = Constant(value)
            elif kind == "uniform":
                step = float(value[2]) if len(value) > 2 else (1.0 if knob.integer else None)
                if step is not None and not step > 0:
                    raise InputError(f"{where}: knob {knob.name}: a uniform's step must be above zero, got {step:g}")
                made = Uniform(value[0], value[1], step)
            elif kind == "loguniform":
                made = LogUniform(value[0], value[1])
            elif kind == "truncnormal":
                made = TruncatedNormal(
                    value["mean"], value["std"], value.get("low", knob.lower), value.get("high", knob.upper)
                )
            elif kind == "choice":
                values = value["values"] if isinstance(value, Mapping) else value
                made = Choice(tuple(values), value.get("weights") if isinstance(value, Mapping) else None)
            elif kind == "density":
                made = Density(*(float(value[k]) for k in ("low", "high", "at_least", "at_most")))
            elif kind == "widest":
                made = Uniform(knob.lower, knob.upper, 1.0 if knob.integer else None)
            else:
                known = "constant, uniform, loguniform, truncnormal, choice, density, widest"
                raise InputError(f"{where}: knob {knob.name}: unknown distribution {kind!r}; known: {known}")
        except InputError:
            raise
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(f"{where}: knob {knob.name}: {kind} cannot be read from {value!r}") from None
    try:
        low, high = (np.asarray(b, dtype=np.float64) for b in made.bounds())
    except (ValueError, TypeError):
        raise InputError(f"{where}: knob {knob.name}: {says!r} is not made of numbers") from None
    if (low > high).any():
        raise InputError(f"{where}: knob {knob.name}: bounds the wrong way round ({low} > {high})")
    if isinstance(made, Density):
        if knob.name != "carton.mass":
            raise InputError(f"{where}: knob {knob.name}: only carton.mass can be drawn as a density")
        if not 0 < made.low <= made.high:
            raise InputError(f"{where}: knob {knob.name}: densities want 0 < low <= high, got {made.low}, {made.high}")
    if isinstance(made, LogUniform) and (low <= 0).any():
        raise InputError(f"{where}: knob {knob.name}: loguniform wants bounds above zero, got {low}")
    knob.check(low, where)
    knob.check(high, where)
    if knob.integer and isinstance(made, LogUniform | TruncatedNormal):
        raise InputError(f"{where}: knob {knob.name} is a whole number and wants constant, uniform, choice or widest")
    # A first draw finds what the bounds do not tell: text, wrong shapes, weights or spreads that are none.
    try:
        with np.errstate(all="ignore"):
            sound = made.draw(stream(0, 0, knob.name), shape)
    except (ValueError, TypeError, IndexError, ArithmeticError):
        sound = np.full(shape, np.nan)
    if not np.isfinite(sound).all():
        raise InputError(f"{where}: knob {knob.name}: {says!r} gives no values of shape {shape}")
    return made


@dataclasses.dataclass(frozen=True)
class Variation:
    """A distribution over knobs: what `generate` and `rollout` draw their rows from."""

    name: str
    knobs: Knobs
    distributions: Mapping[str, Distribution]
    calibrations: tuple[Calibration, ...] = ()

    @staticmethod
    def parse(name: str, says: Mapping[str, Any], knobs: Knobs) -> Variation:
        """Build from a mapping such as a variation file holds: `{knob: number | {distribution: arguments}}`.

        A knob's dotted name may be written as nested mappings (`carton: {count: 12}`). The key `every_knob: widest`
        draws every knob that is not named otherwise from all of its bounds.

        Raises:
            InputError: unknown knob or distribution, or bounds that are wrong; the message names the knob.
        """
        where = f"variation {name}"
        says = dict(says)
        calibrations = []
        paths = says.pop("calibration", None) or []
        for path in [paths] if isinstance(paths, str) else paths:
            calibrations.append(Calibration.read(Path(path), knobs))
        every = says.pop("every_knob", None)
        says = _flat(says, knobs)
        if every is not None:
            says = {**{k: {every: None} for k in knobs}, **says}
        made = {k: _distribution(knobs[k], knobs.shape(k), v, where) for k, v in says.items()}
        return Variation(name, knobs, made, tuple(calibrations))

    def sample(self, seed: int, numbers: Sequence[int] | np.ndarray) -> Rows:
        """Draw the variants with these numbers; a knob nobody names keeps its nominal value."""
        numbers = np.asarray(numbers, dtype=np.int64)
        columns = {}
        for name, distribution in self.distributions.items():
            shape = self.knobs.shape(name)
            columns[name] = (
                np.stack([distribution.draw(stream(seed, int(n), name), shape) for n in numbers])
                if len(numbers)
                else np.zeros((0, *shape))
            )
        for calibration in self.calibrations:
            drawn = [calibration.draw(seed, int(n), self.knobs) for n in numbers]
            for name in calibration.sizes if drawn else ():
                columns[name] = np.stack([d[name] for d in drawn])
        calibrated = {name for calibration in self.calibrations for name in calibration.sizes}
        for name, distribution in self.distributions.items():
            if isinstance(distribution, Density) and name not in calibrated:
                size = columns.get("carton.size")
                if size is None:
                    size = np.broadcast_to(self.knobs.nominal("carton.size"), (*columns[name].shape, 3))
                columns[name] = distribution.masses(columns[name], size)
        rows = Rows(self.knobs, columns, seed, numbers)
        rows.check(f"variation {self.name}")
        return rows
