"""Evaluation: figures, causes and knobs from the metadata of made-up episodes."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tasks.dataset.reader import Dataset
from tasks.evaluation import evaluate, success_interval


def episode(k: int, reasons: list[str], friction: float) -> dict[str, Any]:
    placed = [True, not reasons]
    return {
        "variant": k,
        "seconds": 20.0,
        "row": {
            "carton.count": 2.0,
            "pallet.prefill": 0.0,
            "friction": friction,
            "mass": [1.0, 3.0, 99.0],
            "same": 1.0,
        },
        "verdict": {
            "success": not reasons,
            "reasons": reasons,
            "placed": placed,
            "position_error": [0.001, 0.003],
            "tilt_creep": None if reasons else 0.0002,
            "pulse_permanent": None if reasons else 0.01,
        },
    }


def dataset(episodes: list[dict[str, Any]]) -> Dataset:
    class Fake(SimpleNamespace):
        def __len__(self) -> int:
            return len(episodes)

    return cast(Dataset, Fake(metadata=lambda i: episodes[i], quarantined=[{"variant": 9, "reason": "not finite"}]))


@pytest.fixture
def result() -> dict[str, Any]:
    bad = ["carton 1 off by 17.2 mm", "carton 0 off by 16.0 mm", "carton 1 dropped (pulled off)"]
    frictions = np.linspace(0.3, 0.7, 8)
    return evaluate(dataset([episode(k, bad if f < 0.5 else [], float(f)) for k, f in enumerate(frictions)]))


def test_figures_carry_intervals(result: dict[str, Any]) -> None:
    figures = result["figures"]
    assert figures["pallets_successful"]["value"] == 0.5
    assert (figures["pallets_successful"]["low"], figures["pallets_successful"]["high"]) == success_interval(4, 8)
    assert figures["cartons_within_tolerance"]["value"] == 12 / 16
    assert figures["seconds_per_carton"]["value"] == 10.0
    assert figures["position_error"]["value"] == pytest.approx(2.0)
    assert figures["tilt_creep"]["value"] == pytest.approx(0.2)
    assert figures["quarantined"]["value"] == 1.0


def test_a_cause_counts_once_an_episode(result: dict[str, Any]) -> None:
    assert result["failures_by_cause"] == {"carton off": 4, "carton dropped (pulled off)": 4}


def test_success_falls_with_the_knob_that_matters(result: dict[str, Any]) -> None:
    knobs = {entry["knob"]: entry["bins"] for entry in result["by_knob"]}
    assert set(knobs) == {"friction"}  # knobs that do not vary tell nothing; a load's mean mass is the same everywhere
    assert [b["success"] for b in knobs["friction"]] == [0.0, 0.0, 1.0, 1.0]
    assert sum(b["n"] for b in knobs["friction"]) == 8


def test_an_empty_dataset_has_no_figures() -> None:
    figures = evaluate(dataset([]))["figures"]
    assert figures["pallets_successful"]["value"] is None
    assert figures["position_error"]["value"] is None
