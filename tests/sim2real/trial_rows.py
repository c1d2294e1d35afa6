"""Small trials for the tests of validation: loads of two light cartons, quick to place."""

from typing import Any

from sim.knobs import Rows
from sim.variations import Variation
from tasks.simulation import Settings

SETTINGS = Settings(slots=3)
SAYS: dict[str, Any] = {
    "carton": {
        "count": 2,
        "size": {"uniform": [[0.3, 0.2, 0.15], [0.42, 0.3, 0.24]]},
        "mass": {"uniform": [3.0, 6.0]},
        "arrival_offset": {"uniform": [-0.03, 0.03]},
        "arrival_yaw": {"uniform": [-0.1, 0.1]},
    },
    # Well above what half a g asks for: the load's stability is not what these tests are about.
    "surface": {"cardboard_cardboard": {"friction": 0.6}, "cardboard_wood": {"friction": 0.6}},
    "test": {"direction": {"uniform": [-3.0, 3.0]}},
}


def small(**says: Any) -> Variation:
    """Return the variation of small trials, with some entries replaced."""
    return Variation.parse("small", SAYS | says, SETTINGS.knobs)


def small_rows(n: int, seed: int = 1) -> Rows:
    """Return so many small trials, ready to run."""
    drawn = small().sample(seed, range(n))
    return SETTINGS.family.prepare(drawn, SETTINGS.layout, SETTINGS.slots, first_only=True)
