"""The piles of the proxy benchmark: where they begin, what they consist of, what must stay free."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from assets.asset import rotation_matrix
from assets.proxies.gate import Gate
from assets.proxies.solids import hull_vertices
from benchmarks.piles import BODIES, Kind, of_pallet, of_part, of_tote, pile, starts
from benchmarks.proxies import THROWN, vhacd


@pytest.mark.parametrize("tilt", [None, 0.1])
@pytest.mark.parametrize("make", [lambda: of_part("mug"), lambda: of_tote("6280"), of_pallet])
def test_a_pile_begins_near_the_floor_and_apart(make: Callable[[], Kind], tilt: float | None) -> None:
    kind = make()
    placed, fall = starts(kind, tilt, 0)
    turned = [kind.mesh.vertices @ rotation_matrix(tuple(p[3:])).T + p[:3] for p in placed.tolist()]
    low, high = np.array([t.min(0) for t in turned]), np.array([t.max(0) for t in turned])
    assert 0 < low[:, 2].min() < 0.005
    assert fall == pytest.approx(low[:, 2].max(), abs=0.005)
    for i, j in itertools.combinations(range(BODIES), 2):
        assert np.any((low[i] > high[j]) | (low[j] > high[i]))  # a plane between their bounding boxes


@pytest.mark.parametrize("make", [lambda: of_tote("6280"), of_pallet])
def test_goods_are_meshes_of_their_boxes_with_free_openings(make: Callable[[], Kind]) -> None:
    kind = make()
    gate = Gate(kind.mesh, kind.regions, kind.limits)
    assert gate.measure(kind.pieces).passed
    assert max(gate.blocked_by_mesh().values()) < 1e-9
    hull = gate.measure([hull_vertices(kind.mesh.vertices)])
    shares = [m.value for m in hull.measures if m.name.startswith("blocked")]
    assert shares
    assert min(shares) > 0.9  # the openings lie within the outline: a hull fills them


def test_whatever_collides_a_body_weighs_the_same() -> None:
    kind = of_tote("3147")
    weights = []
    for collides, geoms in (("boxes", 12), ("sdf", 1), (kind.pieces, 12)):
        model = pile(kind, THROWN, collides)
        assert model.ngeom == 1 + BODIES * geoms
        weights.append([*model.body_mass[1:], *model.body_inertia[1:].ravel(), *model.body_ipos[1:].ravel()])
    np.testing.assert_allclose(weights[1:], [weights[0]] * 2)


def test_v_hacd_fills_the_solid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALLETLAB_CACHE", str(tmp_path))
    kind = of_part("plate")
    report = Gate(kind.mesh).measure(vhacd(kind.mesh, 20_000))
    assert report["missing_volume"].value < 0.2  # it covers voxels; with triangles misread two thirds are missing
