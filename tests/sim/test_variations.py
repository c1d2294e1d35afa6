"""Distributions, calibrations, and that a variant comes out the same whatever it is drawn with."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import yaml

from assets.errors import InputError
from sim.knobs import Knob, Knobs
from sim.variations import Variation, stream

SCALAR = Knob("friction", "1", 0.2, 0.9, 0.5, "scalar")
SLOTTED = Knob("carton.mass", "kg", 0.1, 20.0, 5.0, "per slot", ("slot",))
SIZED = Knob("carton.size", "m", (0.2, 0.1, 0.05), (0.8, 0.6, 0.5), (0.4, 0.3, 0.2), "per slot and axis", ("slot", 3))
WHOLE = Knob("count", "1", 1, 8, 4, "whole", integer=True)
TINT = Knob("tint", "1", 0.0, 1.0, 0.5, "vector", (3,))
ALL = (SCALAR, SLOTTED, SIZED, WHOLE, TINT)
N = 4000


def knobs(slots: int = 3, *more: Knob) -> Knobs:
    """The knobs of a scene with so many slots."""
    return Knobs((*more, *ALL), {"slot": slots})


def drawn(name: str, says: object, n: int = N) -> np.ndarray:
    """Draw one knob."""
    return Variation.parse("v", {name: says}, knobs()).sample(5, np.arange(n))[name]


def close(values: np.ndarray, mean: float, std: float) -> None:
    """Check mean and standard deviation of independent values, within five standard errors."""
    flat = values.ravel()
    assert abs(flat.mean() - mean) < 5 * std / math.sqrt(flat.size)
    # The deviation's error is at most that of a normal for the flat distributions here, and somewhat above for others.
    assert abs(flat.std() - std) < 8 * std / math.sqrt(2 * flat.size)


def test_constant() -> None:
    assert (drawn("friction", 0.4, 3) == 0.4).all()
    assert (drawn("friction", {"constant": 0.4}, 3) == 0.4).all()
    np.testing.assert_array_equal(drawn("tint", [0.1, 0.2, 0.3], 2), [[0.1, 0.2, 0.3]] * 2)
    # A list that is shorter than the slots goes on with its last entry.
    np.testing.assert_array_equal(drawn("carton.mass", [1.0, 2.0], 1), [[1.0, 2.0, 2.0]])


def test_uniform() -> None:
    values = drawn("carton.mass", {"uniform": [2.0, 6.0]})
    close(values, 4.0, 4.0 / math.sqrt(12))
    assert 2.0 <= values.min() < 2.02
    assert 5.98 < values.max() <= 6.0
    size = drawn("carton.size", {"uniform": [[0.3, 0.2, 0.1], [0.6, 0.4, 0.3]]}, 500)
    assert (size >= [0.3, 0.2, 0.1]).all()
    assert (size <= [0.6, 0.4, 0.3]).all()


def test_uniform_whole_numbers_reach_both_ends_equally() -> None:
    values, counts = np.unique(drawn("count", {"uniform": [2, 5]}), return_counts=True)
    assert values.tolist() == [2, 3, 4, 5]
    assert (np.abs(counts - N / 4) < 5 * math.sqrt(N * 3 / 16)).all()


def test_loguniform() -> None:
    values = drawn("carton.mass", {"loguniform": [0.5, 20.0]})
    assert values.min() >= 0.5
    assert values.max() <= 20.0 * (1 + 1e-12)
    span = math.log(40.0)
    close(np.log(values), math.log(0.5) + span / 2, span / math.sqrt(12))


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.9), (0.45, 0.5), (0.55, 0.9)])
def test_truncated_normal(low: float, high: float) -> None:
    mean, std = 0.5, 0.05
    values = drawn("friction", {"truncnormal": {"mean": mean, "std": std, "low": low, "high": high}})
    assert low <= values.min()
    assert values.max() <= high
    normal = NormalDist()
    a, b = (low - mean) / std, (high - mean) / std
    mass = normal.cdf(b) - normal.cdf(a)
    shift = (normal.pdf(a) - normal.pdf(b)) / mass
    spread = math.sqrt(1 + (a * normal.pdf(a) - b * normal.pdf(b)) / mass - shift * shift)
    close(values, mean + std * shift, std * spread)


def test_truncated_normal_is_cut_at_the_knobs_bounds_by_default() -> None:
    values = drawn("friction", {"truncnormal": {"mean": 0.3, "std": 0.3}})
    assert values.min() >= 0.2
    assert values.max() <= 0.9


def test_choice() -> None:
    values = drawn("count", {"choice": [1, 3, 8]})
    assert set(values) == {1, 3, 8}
    weighted = drawn("count", {"choice": {"values": [1, 3, 8], "weights": [1, 0, 3]}})
    assert set(weighted) == {1, 8}
    assert abs((weighted == 8).mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / N)


def test_widest_fills_the_bounds() -> None:
    size = drawn("carton.size", {"widest": None}).reshape(-1, 3)
    for axis in range(3):
        low, high = SIZED.lower[axis], SIZED.upper[axis]  # type: ignore[index]
        close(size[:, axis], (low + high) / 2, (high - low) / math.sqrt(12))
    assert set(drawn("count", {"widest": None})) == set(range(1, 9))


def test_every_knob_widest_leaves_named_knobs_alone() -> None:
    rows = Variation.parse("v", {"every_knob": "widest", "friction": 0.3}, knobs()).sample(0, np.arange(50))
    assert (rows["friction"] == 0.3).all()
    assert all(rows[k].std() > 0 for k in knobs() if k != "friction")


def test_a_knob_nobody_names_keeps_its_nominal_value() -> None:
    rows = Variation.parse("v", {"friction": {"widest": None}}, knobs()).sample(0, np.arange(4))
    np.testing.assert_array_equal(rows["carton.size"], np.broadcast_to([0.4, 0.3, 0.2], (4, 3, 3)))


@pytest.mark.parametrize(
    ("says", "match"),
    [
        ({"fricton": 0.5}, "unknown knob 'fricton': did you mean 'friction'"),
        ({"friction": {"gauss": [0, 1]}}, "friction: unknown distribution 'gauss'; known: .*uniform"),
        ({"friction": {"uniform": [0.8, 0.3]}}, "friction: bounds the wrong way round"),
        ({"carton.size": {"uniform": [[0.3, 0.4, 0.1], [0.6, 0.2, 0.3]]}}, "carton.size: bounds the wrong way round"),
        ({"friction": {"uniform": [0.3]}}, "friction: uniform cannot be read"),
        ({"friction": {"uniform": 0.3}}, "friction: uniform cannot be read"),
        ({"friction": {"uniform": [0.3, 1.4]}}, "friction = 1.4 1 lies outside its bounds"),
        ({"friction": {"uniform": [0.3, "big"]}}, "friction: .* not made of numbers"),
        ({"friction": {"uniform": [0.3, float("nan")]}}, "friction .* not a finite number"),
        ({"friction": None}, "friction .* not a finite number"),
        ({"friction": "high"}, "friction: 'high' is not made of numbers"),
        ({"friction": {"uniform": [0.3, 0.4], "choice": [1]}}, "friction wants one distribution, got uniform, choice"),
        ({"friction": {}}, "friction wants one distribution, got none"),
        ({"carton.mass": {"loguniform": [-1.0, 2.0]}}, "carton.mass: loguniform wants bounds above zero"),
        ({"friction": {"truncnormal": {"mean": 0.5}}}, "friction: truncnormal cannot be read"),
        ({"friction": {"truncnormal": {"mean": 0.5, "std": 0.0}}}, "friction: .* gives no values"),
        ({"friction": {"truncnormal": {"mean": 0.5, "std": -0.1}}}, "friction: .* gives no values"),
        ({"friction": {"truncnormal": {"mean": 0.5, "std": "wide"}}}, "friction: .* gives no values"),
        ({"friction": {"truncnormal": {"mean": float("nan"), "std": 0.1}}}, "friction: .* gives no values"),
        ({"friction": {"choice": []}}, "friction"),
        ({"friction": {"choice": {"values": [0.3, 0.4], "weights": [1]}}}, "friction: .* gives no values"),
        ({"friction": {"choice": {"values": [0.3, 0.4], "weights": [1, -1]}}}, "friction: .* gives no values"),
        ({"friction": {"choice": {"values": [0.3, 0.4], "weights": [0, 0]}}}, "friction: .* gives no values"),
        ({"tint": [0.1, 0.2, 0.3, 0.4]}, r"tint: .* gives no values of shape \(3,\)"),
        ({"carton.mass": [1.0, 2.0, 3.0, 4.0]}, r"carton.mass: .* gives no values of shape \(3,\)"),
        ({"friction": [0.3, 0.4]}, r"friction: .* gives no values of shape \(\)"),
        ({"count": 2.5}, "count = 2.5 must be a whole number"),
        ({"count": {"uniform": [1.5, 3]}}, "count = 1.5 must be a whole number"),
        ({"count": {"truncnormal": {"mean": 3, "std": 1}}}, "count is a whole number"),
        ({"carton.mass": {"density": {"low": 9, "high": 3, "at_least": 1, "at_most": 2}}}, "densities want 0 < low"),
        ({"carton.mass": {"density": {"low": 0, "high": 3, "at_least": 1, "at_most": 2}}}, "densities want 0 < low"),
        ({"carton.mass": {"density": {"low": "a", "high": 3, "at_least": 1, "at_most": 2}}}, "density cannot be read"),
        ({"friction": {"density": {"low": 1, "high": 3, "at_least": 0.3, "at_most": 0.5}}}, "only carton.mass"),
        ({"carton": {"mas": 3}}, "unknown knob 'carton.mas': did you mean 'carton.mass'"),
        ({"every_knob": "narrow"}, "unknown distribution 'narrow'"),
    ],
)
def test_wrong_variations_are_refused(says: dict, match: str) -> None:
    with pytest.raises(InputError, match=match) as error:
        Variation.parse("v", says, knobs())
    assert "\n" not in str(error.value)


def test_density_gives_masses_that_go_with_the_sizes() -> None:
    says = {
        "carton": {
            "size": {"widest": None},
            "mass": {"density": {"low": 100, "high": 400, "at_least": 3.0, "at_most": 10.0}},
        }
    }
    rows = Variation.parse("v", says, knobs()).sample(2, np.arange(500))
    mass, volume = rows["carton.mass"], rows["carton.size"].prod(-1)
    assert mass.min() == 3.0
    assert mass.max() == 10.0
    free = (mass > 3.0) & (mass < 10.0)
    assert (mass / volume)[free].min() >= 100
    assert (mass / volume)[free].max() <= 400
    some = Variation.parse("v", says, knobs(7)).sample(2, [400, 20])
    assert np.ascontiguousarray(some["carton.mass"][:, :3]).tobytes() == rows.take([400, 20])["carton.mass"].tobytes()
    del says["carton"]["size"]
    nominal = Variation.parse("v", says, knobs()).sample(2, np.arange(50))["carton.mass"]
    assert nominal.shape == (50, 3)
    assert nominal.min() >= 3.0
    assert nominal.max() <= 400 * 0.4 * 0.3 * 0.2


def test_a_calibrated_mass_is_not_taken_for_a_density(tmp_path: Path) -> None:
    path = written(tmp_path, {"carton.mass": [4.0, 5.0, 6.0]}, np.zeros((3, 3)).tolist())
    says = {"carton.mass": {"density": {"low": 1, "high": 2, "at_least": 3, "at_most": 9}}, "calibration": path}
    rows = Variation.parse("v", says, knobs()).sample(0, np.arange(2))
    np.testing.assert_array_equal(rows["carton.mass"], [[4.0, 5.0, 6.0]] * 2)
    assert len(Variation.parse("v", says, knobs()).sample(0, [])) == 0


# ---- counter-based randomness ----------------------------------------------------------------------------------------

EVERYTHING = {
    "friction": {"truncnormal": {"mean": 0.5, "std": 0.2}},
    "carton.mass": {"loguniform": [0.5, 20.0]},
    "carton.size": {"widest": None},
    "count": {"choice": [2, 3, 4]},
}


def test_a_variant_is_the_same_whatever_it_is_drawn_with() -> None:
    variation = Variation.parse("v", EVERYTHING, knobs())
    many = variation.sample(5, np.arange(100))
    for numbers in ([7], [99, 7, 3], range(5, 50)):
        some = variation.sample(5, list(numbers))
        for name in knobs():
            assert some[name].tobytes() == many.take(list(numbers))[name].tobytes()


def test_a_new_knob_changes_no_other() -> None:
    before = Variation.parse("v", EVERYTHING, knobs()).sample(5, np.arange(20))
    new = Knob("another", "1", 0, 1, 0.5, "new")
    more = Variation.parse("w", {"another": {"widest": None}, **EVERYTHING}, knobs(3, new)).sample(5, np.arange(20))
    for name in knobs():
        assert more[name].tobytes() == before[name].tobytes()


@pytest.mark.parametrize("slots", [4, 7, 24])
def test_more_slots_give_the_same_first_slots(slots: int) -> None:
    says = {
        "carton.mass": {"loguniform": [0.5, 20.0]},
        "carton.size": {"truncnormal": {"mean": [0.4, 0.3, 0.2], "std": 0.1}},
    }
    few = Variation.parse("v", says, knobs(3)).sample(5, np.arange(20))
    more = Variation.parse("v", says, knobs(slots)).sample(5, np.arange(20))
    for name in says:
        assert np.ascontiguousarray(more[name][:, :3]).tobytes() == few[name].tobytes()


def test_seeds_variants_and_knobs_are_independent() -> None:
    draws = {
        (seed, variant, name): stream(seed, variant, name).random()
        for seed in (0, 1, -1, 2**40) for variant in (0, 1, 2**40) for name in ("a", "b")
    }  # fmt: skip
    assert len(set(draws.values())) == len(draws)
    values = drawn("carton.mass", {"uniform": [0.0 + 0.1, 1.0]})
    assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 5 / math.sqrt(N)
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 5 / math.sqrt(N)


def test_two_knobs_with_the_same_bounds_are_independent() -> None:
    twins = (Knob("one", "1", 0, 1, 0.5, "one"), Knob("two", "1", 0, 1, 0.5, "two"))
    variation = Variation.parse("v", {"every_knob": "widest"}, Knobs(twins, {}))
    rows = variation.sample(0, np.arange(N))
    assert abs(np.corrcoef(rows["one"], rows["two"])[0, 1]) < 5 / math.sqrt(N)
    assert abs(np.corrcoef(rows["one"], variation.sample(1, np.arange(N))["one"])[0, 1]) < 5 / math.sqrt(N)


def test_a_stream_longer_than_a_counter_step_does_not_run_into_the_next_variant() -> None:
    first, second = stream(0, 0, "a").random(4000), stream(0, 1, "a").random(4000)
    assert not np.isin(second, first).any()


# ---- calibrations ----------------------------------------------------------------------------------------------------

MEAN = {"friction": 0.5, "tint": [0.4, 0.5, 0.6]}
SPREAD = np.array([0.02, 0.01, 0.03, 0.02])
CORRELATION = np.array([[1, 0.8, 0, 0], [0.8, 1, 0, -0.3], [0, 0, 1, 0], [0, -0.3, 0, 1]])
COVARIANCE = SPREAD[:, None] * CORRELATION * SPREAD


def written(tmp_path: Path, means: object = MEAN, covariance: object = COVARIANCE.tolist()) -> str:
    """Write a calibration and return its path."""
    path = tmp_path / "found.yaml"
    path.write_text(yaml.safe_dump({"knobs": means, "covariance": covariance}))
    return str(path)


def test_joint_draws_have_the_right_covariance(tmp_path: Path) -> None:
    rows = Variation.parse("v", {"calibration": written(tmp_path)}, knobs()).sample(3, np.arange(N))
    values = np.concatenate([rows["friction"][:, None], rows["tint"]], axis=1)
    np.testing.assert_array_less(np.abs(values.mean(0) - [0.5, 0.4, 0.5, 0.6]), 5 * SPREAD / math.sqrt(N))
    np.testing.assert_allclose(np.corrcoef(values.T), CORRELATION, atol=5 / math.sqrt(N))
    np.testing.assert_allclose(values.std(0), SPREAD, rtol=5 / math.sqrt(2 * N))
    few = Variation.parse("v", {"calibration": written(tmp_path)}, knobs()).sample(3, [17, 4])
    assert few["tint"].tobytes() == rows.take([17, 4])["tint"].tobytes()


def test_a_certain_direction_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, {"tint": [0.4, 0.5, 0.6]}, (1e-4 * np.ones((3, 3))).tolist())
    tint = Variation.parse("v", {"calibration": path}, knobs()).sample(0, np.arange(50))["tint"]
    np.testing.assert_allclose(tint[:, 1] - tint[:, 0], 0.1, atol=1e-9)
    assert tint[:, 0].std() > 0.005
    path = written(tmp_path, {"tint": [0.4, 0.5, 0.6]}, np.zeros((3, 3)).tolist())
    tint = Variation.parse("v", {"calibration": path}, knobs()).sample(0, np.arange(3))["tint"]
    np.testing.assert_array_equal(tint, [[0.4, 0.5, 0.6]] * 3)


def test_draws_stay_within_the_bounds_and_override_widest(tmp_path: Path) -> None:
    path = written(tmp_path, {"friction": 0.85}, [[0.04]])
    rows = Variation.parse("v", {"every_knob": "widest", "calibration": [path]}, knobs()).sample(0, np.arange(200))
    assert rows["friction"].max() == 0.9
    assert rows["friction"].min() >= 0.2
    assert rows["carton.mass"].std() > 4.0


def broken(i: int, j: int, value: float) -> list:
    """Return the covariance with one element changed."""
    changed = COVARIANCE.copy()
    changed[i, j] = value
    return changed.tolist()


@pytest.mark.parametrize(
    ("means", "covariance", "match"),
    [
        (MEAN, COVARIANCE[:3, :3].tolist(), "symmetric, positive semidefinite 4 x 4"),
        (MEAN, broken(0, 1, 0.9), "symmetric"),
        (MEAN, broken(2, 2, -1e-4), "positive semidefinite"),
        (MEAN, broken(2, 2, float("nan")), "symmetric"),
        (MEAN, [[1.0, 2.0], [3.0]], "symmetric"),
        (MEAN, "none", "symmetric"),
        # Broken on its own scale, though far below one.
        ({"tint": [0.4, 0.5, 0.6]}, [[1e-10, 2e-10, 0], [2e-10, 1e-10, 0], [0, 0, 1e-10]], "positive semidefinite"),
        ({"tint": [0.4, 0.5, 0.6]}, [[1e-10, 5e-11, 0], [0, 1e-10, 0], [0, 0, 1e-10]], "symmetric"),
        ({"tint": [0.4, 0.5]}, [[1.0, 0.0], [0.0, 1.0]], r"tint has shape \(2,\), this scene wants \(3,\)"),
        ({"friction": "high"}, [[1.0]], "friction: its mean is not made of finite numbers"),
        ({"friction": float("inf")}, [[1.0]], "friction: its mean is not made of finite numbers"),
        ({"fricton": 0.5}, [[1.0]], "did you mean 'friction'"),
        ({}, [], "at least one knob"),
        ([0.5], [[1.0]], "a calibration has the entries"),
    ],
)
def test_broken_calibrations_are_refused(tmp_path: Path, means: object, covariance: object, match: str) -> None:
    path = written(tmp_path, means, covariance)
    with pytest.raises(InputError, match=match) as error:
        Variation.parse("v", {"calibration": path}, knobs())
    assert "\n" not in str(error.value)


def test_a_calibration_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such calibration"):
        Variation.parse("v", {"calibration": str(tmp_path / "none.yaml")}, knobs())
    (tmp_path / "bad.yaml").write_text("knobs: [1\n")
    with pytest.raises(InputError, match="not readable as YAML"):
        Variation.parse("v", {"calibration": str(tmp_path / "bad.yaml")}, knobs())
