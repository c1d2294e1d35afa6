"""Knobs and the table of rows: bounds, shapes, what is refused and how, and the way to disk and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assets.errors import InputError
from sim.cartons import CARTON_KNOBS
from sim.cell_knobs import CELL_KNOBS, camera_knobs
from sim.knobs import Knob, Knobs, Rows
from sim.variations import Variation

KNOBS = Knobs(
    (
        Knob("friction", "1", 0.2, 0.9, 0.5, "scalar"),
        Knob("carton.size", "m", (0.2, 0.1, 0.05), (0.8, 0.6, 0.5), (0.4, 0.3, 0.2), "per slot and axis", ("slot", 3)),
        Knob("carton.mass", "kg", 0.1, 20.0, 5.0, "per slot", ("slot",)),
        Knob("light.color", "1", 0.0, 1.0, (0.1, 0.2, 0.3), "vector", (3,)),
        Knob("count", "1", 1, 8, 4, "whole", integer=True),
    ),
    {"slot": 2},
)


def rows(n: int = 5) -> Rows:
    """Rows with every knob drawn from all of its bounds."""
    return Variation.parse("all", {"every_knob": "widest"}, KNOBS).sample(7, np.arange(10, 10 + n))


def test_nominal_values_have_the_knobs_shapes() -> None:
    nominal = Rows(KNOBS, {}, 0, np.arange(3))
    assert len(nominal) == 3
    assert {name: nominal[name].shape for name in KNOBS} == {
        "friction": (3,), "carton.size": (3, 2, 3), "carton.mass": (3, 2), "light.color": (3, 3), "count": (3,),
    }  # fmt: skip
    np.testing.assert_array_equal(nominal["carton.size"][2, 1], [0.4, 0.3, 0.2])
    nominal.check("nominal")


def test_all_knobs_of_the_cell_are_sound() -> None:
    every = CARTON_KNOBS + CELL_KNOBS + camera_knobs("cell") + camera_knobs("wrist")
    assert len({k.name for k in every}) == len(every)
    for knob in every:
        assert np.all(np.asarray(knob.lower) < np.asarray(knob.upper)), knob.name
        knob.check(np.asarray(knob.nominal), "nominal")
        knob.check(np.asarray(knob.lower), "lower")
        knob.check(np.asarray(knob.upper), "upper")
        assert knob.unit
        assert knob.says


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("friction", 0.1, "friction = 0.1 1 lies outside its bounds 0.2 … 0.9"),
        ("friction", 0.91, "outside its bounds"),
        ("friction", np.nan, "not a finite number"),
        ("friction", np.inf, "not a finite number"),
        ("carton.size", [[0.4, 0.3, 0.2], [0.4, 0.3, 0.6]], "carton.size = 0.6 m lies outside"),
        ("carton.size", [[0.4, 0.05, 0.2], [0.4, 0.3, 0.2]], "carton.size = 0.05 m lies outside"),
        ("count", 2.5, "count = 2.5 must be a whole number"),
    ],
)
def test_wrong_values_are_refused(name: str, value: object, says: str) -> None:
    table = Rows(KNOBS, {name: np.asarray(value)[None]}, 0, np.arange(1))
    with pytest.raises(InputError, match=says) as error:
        table.check("here")
    assert str(error.value).startswith("here: ")
    assert "\n" not in str(error.value)


def test_bounds_that_went_through_text_are_accepted() -> None:
    KNOBS["friction"].check(np.array([0.9 + 1e-12, 0.2 - 1e-12]), "here")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"carton.mass: the table holds shape \(1, 3\), the scene wants \(1, 2\)"):
        Rows(KNOBS, {"carton.mass": np.ones((1, 3))}, 0, np.arange(1))


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown knob 'carton\.sise': did you mean 'carton.size'"):
        KNOBS["carton.sise"]
    assert "carton.sise" not in KNOBS
    assert "carton.size" in KNOBS
    with pytest.raises(InputError, match="did you mean 'friction'"):
        rows()["fricton"]
    with pytest.raises(InputError, match=r"did you mean 'carton\.mass'"):
        Rows(KNOBS, {"carton.mas": np.ones((1, 2))}, 0, np.arange(1))


def test_take_and_replace() -> None:
    table = rows()
    some = table.take([3, 1])
    np.testing.assert_array_equal(some.numbers, [13, 11])
    np.testing.assert_array_equal(some["carton.size"], table["carton.size"][[3, 1]])
    changed = table.replaced(carton__mass=np.full((5, 2), 3.0))
    assert (changed["carton.mass"] == 3.0).all()
    assert changed["friction"].tobytes() == table["friction"].tobytes()
    assert table.row(2)["carton.size"] == table["carton.size"][2].tolist()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_parquet_round_trip_is_bit_exact(tmp_path: Path, n: int) -> None:
    table = rows(n)
    table.to_parquet(tmp_path / "variants.parquet")
    back = Rows.from_parquet(tmp_path / "variants.parquet", KNOBS)
    assert back.numbers.tolist() == table.numbers.tolist()
    assert back.seed == (7 if n else 0)
    for name in KNOBS:
        assert back[name].shape == table[name].shape
        assert back[name].tobytes() == table[name].tobytes()


def test_a_table_sorted_and_rewritten_elsewhere_is_read(tmp_path: Path) -> None:
    table = rows()
    table.to_parquet(tmp_path / "variants.parquet")
    plain = pq.read_table(tmp_path / "variants.parquet").to_pylist()
    plain.sort(key=lambda row: -row["friction"])
    # Vectors become lists of any length, as pandas writes them.
    pq.write_table(pa.Table.from_pylist(plain), tmp_path / "sorted.parquet")
    back = Rows.from_parquet(tmp_path / "sorted.parquet", KNOBS)
    order = np.argsort(-table["friction"])
    for name in KNOBS:
        assert back[name].tobytes() == table[name][order].tobytes()
    np.testing.assert_array_equal(back.numbers, table.numbers[order])


def test_a_column_that_is_missing_has_the_nominal_value(tmp_path: Path) -> None:
    pq.write_table(pa.table({"variant": [4], "seed": [1]}), tmp_path / "t.parquet")
    back = Rows.from_parquet(tmp_path / "t.parquet", KNOBS)
    np.testing.assert_array_equal(back["light.color"], [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"seed": [1], "friction": [0.5]}, "lacks the column variant"),
        ({"variant": [1], "friction": [0.5]}, "lacks the column seed"),
        ({"variant": [1], "seed": [1], "fricton": [0.5]}, "did you mean 'friction'"),
        ({"variant": [1], "seed": [1], "friction": ["high"]}, "column friction .* does not hold numbers"),
        ({"variant": [1], "seed": [1], "friction": [None]}, "column friction|not a finite number"),
        ({"variant": [1], "seed": [1], "friction": [np.nan]}, "not a finite number"),
        ({"variant": [1], "seed": [1], "friction": [7.0]}, "outside its bounds"),
        ({"variant": [1], "seed": [1], "carton.mass": [1.0]}, r"shape \(1,\), the scene wants \(1, 2\)"),
        ({"variant": [1, 2], "seed": [1, 1], "carton.mass": [[1.0, 2.0], [1.0]]}, "carton.mass .* numbers"),
        ({"variant": [1], "seed": [1], "carton.mass": [["a", "b"]]}, "carton.mass .* numbers"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, columns: dict[str, list], says: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=says) as error:
        Rows.from_parquet(tmp_path / "t.parquet", KNOBS)
    assert "\n" not in str(error.value)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such table of variants"):
        Rows.from_parquet(tmp_path / "none.parquet", KNOBS)
    (tmp_path / "text.parquet").write_text("friction\n0.5\n")
    with pytest.raises(InputError, match="not a readable Parquet table"):
        Rows.from_parquet(tmp_path / "text.parquet", KNOBS)
    rows().to_parquet(tmp_path / "whole.parquet")
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-200])
    with pytest.raises(InputError, match="not a readable Parquet table"):
        Rows.from_parquet(tmp_path / "half.parquet", KNOBS)
