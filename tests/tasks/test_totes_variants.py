"""Filled totes: parts lie inside and at rest, the same for a (seed, number) whatever is filled beside it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from tote_helpers import begun, stay

from assets import totes
from sim.knobs import Rows
from sim.rotations import angle_between
from sim.totes import FOLDING
from tasks.families import variation_named
from tasks.simulation import Settings
from tasks.totes import variants
from tasks.totes.task import IN_TOTE, ToteBreakdown
from tasks.totes.variants import CHUNK, POURABLE, cavity, fill_rows, in_cavity, place_in_tote

SLOTS = 10
SETTINGS = Settings("tote_breakdown", slots=SLOTS)
N = CHUNK + 4  # more than one chunk


@functools.cache
def drawn() -> Rows:
    """Rows of the nominal variation: all kinds of totes, mixed parts, as many as there are slots."""
    rows = variation_named("nominal", SETTINGS.knobs, "tote_breakdown").sample(7, range(N))
    kinds = np.arange(N) % len(totes.KINDS)
    return rows.replaced(tote__kind=kinds, part__count=np.minimum(rows["part.count"], SLOTS), decant__pour=np.ones(N))


@functools.cache
def filled() -> Rows:
    return fill_rows(drawn(), SETTINGS.layout, SLOTS)


def test_parts_lie_inside() -> None:
    rows = filled()
    count, kind = rows["part.count"].astype(int), rows["tote.kind"].astype(int)
    there = np.arange(SLOTS) < count[:, None]
    assert (count >= 1).all()
    assert in_cavity(rows["fill.position"], kind)[there].all()
    for k in range(N):
        (length, width), floor, rim = cavity(kind[k])
        x, y, z = rows["fill.position"][k, : count[k]].T
        assert (np.abs(x) < length / 2).all()
        assert (np.abs(y) < width / 2).all()
        assert (z > floor + 0.003).all()
        assert (z < rim).all()
    np.testing.assert_allclose((rows["fill.rotation"] ** 2).sum(-1), 1.0, atol=1e-9)
    assert (rows["fill.position"][~there] == 0.0).all()
    assert (rows["fill.rotation"][~there] == [1.0, 0.0, 0.0, 0.0]).all()
    # They lie as they fell: none in the same place, none as the next.
    assert len(np.unique(rows["fill.position"][there].round(6), axis=0)) == there.sum()


def test_only_what_is_planned_changes() -> None:
    """Filling says where parts lie and how many fit; it does not touch what was drawn."""
    for name in drawn().columns:
        if name not in ("fill.position", "fill.rotation", "part.count", "decant.pour"):
            same = drawn()[name] == filled()[name]
            per_slot = drawn().knobs[name].shape[:1] == ("slot",)
            assert same.all() or (per_slot and np.array_equal(np.sort(drawn()[name], 1), np.sort(filled()[name], 1)))
    assert (filled()["part.count"] <= drawn()["part.count"]).all()
    np.testing.assert_array_equal(filled().numbers, drawn().numbers)


@pytest.mark.parametrize("which", [[9], [3, 11, 0]])
def test_a_row_is_filled_alike_whatever_is_filled_beside_it(which: list[int]) -> None:
    few = fill_rows(drawn().take(which), SETTINGS.layout, SLOTS)
    for name in few.columns:
        assert few[name].tobytes() == filled()[name][which].tobytes(), name


def test_another_seed_or_number_lies_otherwise() -> None:
    one = drawn().take([1])
    other = Rows(one.knobs, one.columns, one.seed + 1, one.numbers)
    third = Rows(one.knobs, one.columns, one.seed, one.numbers + 100)
    places = [fill_rows(rows, SETTINGS.layout, SLOTS)["fill.position"].tobytes() for rows in (one, other, third)]
    assert len(set(places)) == 3


def test_what_was_filled_is_at_rest_in_the_task() -> None:
    rows = filled().replaced(tote__yaw=np.linspace(-0.15, 0.15, N))
    _, task = begun(rows, SETTINGS)
    assert isinstance(task, ToteBreakdown)
    before, turn = (pose[:, :SLOTS].copy() for pose in task.cell.poses(np.arange(N)))
    stay(task, 5)
    after, turned = (pose[:, :SLOTS] for pose in task.cell.poses(np.arange(N)))
    there = np.arange(SLOTS) < rows["part.count"][:, None]
    assert ((task.state.where == IN_TOTE) == there).all()
    dofs = task.cell.scene.slot_dofs[:SLOTS, None] + np.arange(3)
    speed = np.abs(task.cell.worlds.qvel[:, dofs]).max(-1)[there]
    assert np.quantile(speed, 0.9) < 0.02
    assert speed.max() < 0.15
    moved = np.sqrt(((after - before) ** 2).sum(-1))[there]
    print("moved [mm]", np.round(1000 * np.quantile(moved, [0.5, 0.9, 1.0]), 2))
    assert np.quantile(moved, 0.9) < 0.004
    assert moved.max() < 0.03
    assert np.quantile(angle_between(turn, turned)[there], 0.9) < 0.15


def test_a_part_that_stays_out_is_left_out_and_the_others_move_up(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = variants._inside

    def all_but_the_second(*given: object) -> np.ndarray:
        found = inside(*given)  # type: ignore[arg-type]
        found[:, 1] = False
        return found

    monkeypatch.setattr(variants, "_inside", all_but_the_second)
    family = np.arange(SLOTS, dtype=float)
    one = drawn().take([0]).replaced(part__count=np.array([4.0]), part__family=family[None])
    rows = fill_rows(one, SETTINGS.layout, SLOTS)
    assert rows["part.count"].tolist() == [3.0]
    assert rows["part.family"][0].tolist() == [0, 2, 3, 1, *family[4:]]
    assert in_cavity(rows["fill.position"], np.array([0]))[0, :3].all()
    assert (rows["fill.position"][0, 3:] == 0.0).all()
    assert (rows["fill.rotation"][0, 3:] == [1.0, 0.0, 0.0, 0.0]).all()
    assert rows["part.color"][0, 1].tolist() == one["part.color"][0, 2].tolist()


def test_places_in_a_tote_turn_with_it() -> None:
    position, rotation = place_in_tote(
        np.array([[[0.1, 0.0, 0.02]]]), np.array([[[1.0, 0, 0, 0]]]), np.array([[1.0, 2.0, 3.0]]), np.array([np.pi / 2])
    )
    np.testing.assert_allclose(position, [[[1.0, 2.1, 3.02]]], atol=1e-12)
    np.testing.assert_allclose(rotation, [[[np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)]]], atol=1e-12)


def test_a_small_tote_holds_fewer() -> None:
    """Ten large mugs fit into a large tote, not into the smallest one; one always goes in."""
    kinds = np.array([0, 3])
    rows = drawn().take([0, 1]).replaced(
        tote__kind=kinds, part__count=np.full(2, float(SLOTS)), part__family=np.full((2, SLOTS), 8.0),
        part__size=np.full((2, SLOTS), 2.0),
    )  # fmt: skip
    count = fill_rows(rows, SETTINGS.layout, SLOTS)["part.count"]
    assert count[0] == SLOTS
    assert 1 <= count[1] < 8


def test_pouring_only_where_tote_and_pad_allow_it() -> None:
    kinds = [totes.KINDS.index(k) for k in ("4280", "4280", "4280", "6280", "3147")] + [FOLDING]
    n = len(kinds)
    rows = drawn().take(range(n)).replaced(
        tote__kind=np.array(kinds, float), tote__mass=np.ones(n), part__count=np.full(n, 6.0),
        part__family=np.full((n, SLOTS), 4.0), part__size=np.full((n, SLOTS), 1.0),
        part__mass=np.tile(np.array([1.0, 1.0, 2.0, 1.0, 1.0, 1.0])[:, None], (1, SLOTS)),
        decant__pour=np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
    )  # fmt: skip
    # Six plates of 0.42 kg and a tote of 1.8 kg may be tipped; twice as heavy ones may not.
    pour = fill_rows(rows, SETTINGS.layout, SLOTS)["decant.pour"]
    assert POURABLE == ("4280",)
    assert pour.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
