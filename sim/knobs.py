"""Knobs: every number that can differ between two worlds, and the table whose rows are worlds.

A knob says what a number means (unit, bounds, shape) and which value it has when nobody asks. Where it acts in an
engine stands in `sim.apply` (physics and looks) or in the task that reads it. A `Rows` holds one array per knob with
the variant as first axis; on disk it is a Parquet file with a column per knob.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.errors import InputError, unknown

Shape = tuple[int | str, ...]  # names ("slot", "joint") stand for sizes that the scene decides


@dataclasses.dataclass(frozen=True)
class Knob:
    """One quantity that can differ between worlds, or between simulation and reality.

    Attributes:
        name: dotted name, e.g. `carton.size`.
        unit: SI unit as text; "1" for ratios, "index" for choices.
        lower, upper: bounds that hold for every element, or one pair per element of the last axis.
        nominal: value when no variation touches the knob (scalar or last-axis vector).
        shape: () for a scalar; axis names are resolved by the scene, e.g. ("slot", 3).
        says: what it is, in one line.
        integer: whether values are whole numbers.
    """

    name: str
    unit: str
    lower: float | tuple[float, ...]
    upper: float | tuple[float, ...]
    nominal: float | tuple[float, ...]
    says: str
    shape: Shape = ()
    integer: bool = False

    def resolved(self, axes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with axis names replaced by the scene's sizes."""
        return tuple(axes[a] if isinstance(a, str) else a for a in self.shape)

    def check(self, values: np.ndarray, where: str) -> None:
        """Raise InputError when a value is not finite, lies outside the bounds, or is no whole number but should be."""
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError(f"{where}: knob {self.name} holds a value that is not a finite number")
        # A hair of slack: a table may hold bounds that went through text.
        slack = 1e-9 * (1.0 + np.abs(values))
        outside = (values < np.asarray(self.lower) - slack) | (values > np.asarray(self.upper) + slack)
        if outside.any():
            raise InputError(
                f"{where}: knob {self.name} = {values[outside][0]:g} {self.unit} lies outside its bounds "
                f"{self.lower} … {self.upper}"
            )
        if self.integer and (values != np.round(values)).any():
            wrong = values[values != np.round(values)][0]
            raise InputError(f"{where}: knob {self.name} = {wrong:g} must be a whole number")


class Knobs(Mapping[str, Knob]):
    """The knobs of a scene, by name; unknown names are answered with the nearest known ones."""

    def __init__(self, knobs: Sequence[Knob], axes: Mapping[str, int]):
        """Collect `knobs`; `axes` gives the sizes of named axes, e.g. {"slot": 24, "joint": 6}."""
        self._knobs = {k.name: k for k in knobs}
        self.axes = dict(axes)

    def __getitem__(self, name: str) -> Knob:
        if name not in self._knobs:
            raise unknown("knob", name, self._knobs)
        return self._knobs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._knobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._knobs)

    def __len__(self) -> int:
        return len(self._knobs)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the knob's shape in this scene."""
        return self[name].resolved(self.axes)

    def nominal(self, name: str) -> np.ndarray:
        """Return the nominal value, of the knob's shape."""
        return np.broadcast_to(np.asarray(self[name].nominal, dtype=np.float64), self.shape(name)).copy()


class Rows:
    """A table of variants: for each knob an array (n, *knob shape), float64."""

    def __init__(self, knobs: Knobs, columns: Mapping[str, np.ndarray], seed: int, numbers: np.ndarray):
        """Hold the columns of `knobs`; `numbers` (n,) are the variant indices, `seed` what they were drawn with."""
        self.knobs = knobs
        self.seed = seed
        self.numbers = np.asarray(numbers, dtype=np.int64)
        self.columns: dict[str, np.ndarray] = {}
        for name in knobs:
            want = (len(self.numbers), *knobs.shape(name))
            value = columns.get(name)
            array = (
                np.broadcast_to(knobs.nominal(name), want).copy() if value is None else np.asarray(value, np.float64)
            )
            if array.shape != want:
                raise InputError(f"knob {name}: the table holds shape {array.shape}, the scene wants {want}")
            self.columns[name] = array
        for name in columns:
            knobs[name]  # an unknown column is an error, not something to drop silently

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise unknown("knob", name, self.columns)
        return self.columns[name]

    def take(self, ids: Sequence[int] | np.ndarray | slice) -> Rows:
        """Return the rows at positions `ids`."""
        return Rows(self.knobs, {k: v[ids] for k, v in self.columns.items()}, self.seed, self.numbers[ids])

    def replaced(self, **columns: np.ndarray) -> Rows:
        """Return a copy in which some columns (dots written as double underscores) are replaced."""
        changed = {k.replace("__", "."): v for k, v in columns.items()}
        return Rows(self.knobs, {**self.columns, **changed}, self.seed, self.numbers)

    def row(self, i: int) -> dict[str, float | list]:
        """Return row `i` as plain numbers and lists, e.g. for JSON."""
        return {k: v[i].tolist() for k, v in self.columns.items()}

    def check(self, where: str) -> None:
        """Raise InputError for the first knob with a value that is not finite or out of bounds."""
        for name, values in self.columns.items():
            self.knobs[name].check(values, where)

    def to_parquet(self, path: Path) -> None:
        """Write the table: columns `variant`, `seed`, then a column per knob (vectors as fixed-size lists)."""
        arrays: dict[str, pa.Array] = {
            "variant": pa.array(self.numbers),
            "seed": pa.array(np.full(len(self), self.seed, dtype=np.int64)),
        }
        for name, values in self.columns.items():
            array: pa.Array = pa.array(values.reshape(-1))
            for size in reversed(values.shape[1:]):
                array = pa.FixedSizeListArray.from_arrays(array, size)
            arrays[name] = array
        pq.write_table(pa.table(arrays), path)

    @staticmethod
    def from_parquet(path: Path, knobs: Knobs) -> Rows:
        """Read a table written by `to_parquet`.

        Raises:
            InputError: the file is missing, is no Parquet, holds an unknown or malformed column, lacks `variant` or
                `seed`, or holds values out of bounds. A knob without a column has its nominal value.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such table of variants; `palletlab generate` writes one")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet table ({error})") from None
        missing = [n for n in ("variant", "seed") if n not in table.column_names]
        if missing:
            raise InputError(f"{path}: the table lacks the column {missing[0]}")
        columns = {}
        for name in table.column_names:
            if name in ("variant", "seed"):
                continue
            try:
                columns[name] = _array(table[name])
            except (ValueError, TypeError):
                raise InputError(f"{path}: column {name} ({table[name].type}) does not hold numbers") from None
        numbers = table["variant"].to_numpy()
        seed = int(table["seed"][0].as_py()) if len(table) else 0
        rows = Rows(knobs, columns, seed, numbers)
        rows.check(str(path))
        return rows


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, or of lists of numbers, as an array."""
    inner, shape = column.combine_chunks(), [len(column)]
    while pa.types.is_fixed_size_list(inner.type) and not inner.null_count:
        shape.append(inner.type.list_size)
        inner = inner.flatten()
    if pa.types.is_floating(inner.type) or pa.types.is_integer(inner.type):
        return inner.to_numpy(zero_copy_only=False).reshape(shape)
    # Other programs, such as pandas, write vectors as lists of any length.
    return np.array(column.to_pylist(), np.float64)
