"""Evaluation: figures, causes and knobs from the metadata of made-up episodes."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tasks.dataset.reader import Dataset
from tasks.evaluation import evaluate
from tasks.figures import success_interval
from tasks.simulation import Settings


def episode(k: int, reasons: list[str], friction: float) -> dict[str, Any]:
    placed = [True, not reasons]
    return {
        "variant": k,
        "seconds": 20.0,
        "row": {
            "carton.count": 2.0,
            "pallet.prefill": 0.0,
            "surface.cardboard_wood.friction": friction,
            "carton.mass": [1.0, 3.0, 90.0 + k],  # the last one is spare
            "floor.color": [1.0, 1.0, 1.0 - k / 100],
            "plan.yaw": [0.1 * k] * 3,
            "conveyor.speed": 1.0,
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

    settings = {"simulation": Settings(slots=3).to_dict()}
    quarantined = [{"variant": 9, "reason": "not finite"}]
    return cast(Dataset, Fake(metadata=lambda i: episodes[i], quarantined=quarantined, settings=settings))


@pytest.fixture
def result() -> dict[str, Any]:
    bad = ["carton 1 off by 17.2 mm", "carton 0 off by 16.0 mm", "carton 1 dropped (pulled off)"]
    frictions = np.linspace(0.3, 0.7, 8)
    return evaluate(dataset([episode(k, bad if f < 0.5 else [], float(f)) for k, f in enumerate(frictions)]))


def test_figures_carry_intervals(result: dict[str, Any]) -> None:
    figures = result["figures"]
    assert figures["success"]["value"] == 0.5
    assert (figures["success"]["low"], figures["success"]["high"]) == success_interval(4, 8)
    assert figures["cartons_within_tolerance"]["value"] == 12 / 16
    assert figures["seconds_per_carton"]["value"] == 10.0
    assert figures["seconds"]["value"] == 20.0
    assert figures["position_error"]["value"] == pytest.approx(2.0)
    assert figures["tilt_creep"]["value"] == pytest.approx(0.2)
    assert figures["quarantined"]["value"] == 1.0


def test_a_cause_counts_once_an_episode(result: dict[str, Any]) -> None:
    assert result["failures_by_cause"] == {"carton off": 4, "carton dropped (pulled off)": 4}


def test_success_falls_with_the_knob_that_matters(result: dict[str, Any]) -> None:
    knobs = {entry["knob"]: entry["bins"] for entry in result["by_knob"]}
    # Knobs that do not vary tell nothing, nor does the plan; a load's mean mass is the same everywhere.
    assert set(knobs) == {"surface.cardboard_wood.friction", "floor.color"}
    friction = knobs["surface.cardboard_wood.friction"]
    assert [b["success"] for b in friction] == [0.0, 0.0, 1.0, 1.0]
    assert sum(b["n"] for b in friction) == 8


def test_episodes_say_how_much_was_done(result: dict[str, Any]) -> None:
    assert (result["task"], result["thing"]) == ("palletizing", "carton")
    assert [(e["done"], e["of"]) for e in result["episodes"]] == [(1, 2)] * 4 + [(2, 2)] * 4


def test_an_empty_dataset_has_no_figures() -> None:
    figures = evaluate(dataset([]))["figures"]
    assert figures["success"]["value"] is None
    assert figures["seconds"]["value"] is None
    assert figures["position_error"]["value"] is None
