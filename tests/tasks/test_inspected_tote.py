"""Inspected tote: the expert succeeds; at the choice nothing tells where the part is; wrong choices are called so."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from memory_lab import Observation, Played, alike, drawn, goes_on_as_before, play, rows_of, same_pictures, settings_of

from assets.errors import InputError
from tasks.families import variation_named
from tasks.memory.inspected_tote import KNOWN, part_tote
from tasks.simulation import Simulation

TASK = "inspected_tote"
PLAIN, SEEN = settings_of(TASK), settings_of(TASK, pictures=True)


LOOKING = 37  # a period in which the first tote is open


@functools.cache
def pair() -> Played:
    """Two worlds that differ in one number: which of two totes holds the part."""
    rows = rows_of(PLAIN, 2, tote__count=2, part__place=[0.0, 1.0])
    choice = play(rows, PLAIN).parting()
    return play(rows, SEEN, pictured=lambda period: choice - 10 <= period <= choice or period == LOOKING)


def test_the_expert_succeeds() -> None:
    rows = drawn(PLAIN, 12)
    played = play(rows, PLAIN)
    verdicts = played.simulation.judge(np.arange(12))
    assert [v.reasons for v in verdicts] == [()] * 12
    assert len({(int(c), int(k)) for c, k in zip(rows["tote.count"], part_tote(rows), strict=True)}) >= 5
    events = played.simulation.task.events[0]
    count = int(rows["tote.count"][0])
    assert [e["tote"] for e in events if e["event"] == "looked into"] == list(range(count))
    assert [e["event"] for e in events][:3] == ["attached", "looked into", "released"]
    assert max(len(played.actions), 1) * 0.1 < 25.0


def test_nothing_tells_at_the_choice_where_the_part_is() -> None:
    played = pair()
    choice = played.parting()
    for period in range(choice - 10, choice + 1):  # a second and more
        alike(played, period, period, 0, 1)
    # Nor has the arm done anything else in one world than in the other.
    assert [v.to_dict()["chosen"] for v in played.simulation.judge(np.arange(2))] == [0, 1]


def test_looking_into_a_tote_tells() -> None:
    look = pair().pictures[LOOKING]
    assert not same_pictures(look, look, 0, 1)
    red = [
        ((p[..., 0] > 90) & (p[..., 1] < p[..., 0] / 2.2) & (p[..., 2] < p[..., 0] / 2.2)).sum() for p in look["wrist"]
    ]
    assert red[0] > 40
    assert red[1] == 0


def test_the_part_lies_where_its_row_says_and_no_lid_shows_it() -> None:
    rows = rows_of(SEEN, 3, tote__count=3, part__place=[0.0, 0.5, 1.0])
    assert part_tote(rows).tolist() == [0, 1, 2]
    simulation = Simulation(SEEN, 3, 1)
    simulation.task.apply(rows, np.arange(3))
    part = simulation.worlds.xpos[:, simulation.scene.model.body("part").id]
    np.testing.assert_allclose(part[:, 1], [-0.28, 0.0, 0.28], atol=1e-9)
    pictures = simulation.render(np.arange(3))
    assert same_pictures(pictures, pictures, 0, 1)
    assert same_pictures(pictures, pictures, 0, 2)
    simulation.close()


def misled(column: str, value: float) -> tuple[Played, list[str]]:
    """Play one world of three totes, the part in the middle one, with an expert that is told something else."""

    def told(seen: Observation) -> Observation:
        seen["environment_state"][:, KNOWN.index(column)] = value
        return seen

    played = play(rows_of(PLAIN, 1, part__place=0.5), PLAIN, told=told)
    return played, list(played.simulation.judge(np.arange(1))[0].reasons)


def test_the_wrong_tote_is_called_so() -> None:
    played, reasons = misled("part.tote", 2.0)
    assert reasons == ["tote 2 chosen, which is empty"]
    assert played.simulation.task.finished(np.arange(1))[0].all()


def test_a_choice_without_looking_does_not_count() -> None:
    played, reasons = misled("look.next", -1.0)
    assert "tote 0 not looked into" in reasons
    assert reasons[-1] == "tote 1 not chosen"
    assert played.simulation.task.finished(np.arange(1))[1].all()  # the time is up


def test_restored_worlds_go_on_bit_for_bit() -> None:
    """Saved with a lid in hand."""
    attached = next(e["time"] for e in pair().simulation.task.events[0] if e["event"] == "attached")
    rows = rows_of(SEEN, 2, tote__count=2, part__place=[0.0, 1.0])
    goes_on_as_before(rows, SEEN, saved_at=round(10 * attached) + 5, after=8)


def test_rows_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"a row has 4 totes, the scene has 2: set task.slots=4"):
        PLAIN.family.prepare(rows_of(PLAIN, 1, tote__count=4), PLAIN.layout, 2)
    rows = variation_named("nominal", PLAIN.knobs, TASK).sample(0, [0]).replaced(tote__count=np.array([5.0]))
    with pytest.raises(InputError, match=r"tote.count = 5 1 lies outside its bounds 2 … 4"):
        rows.check("table")
