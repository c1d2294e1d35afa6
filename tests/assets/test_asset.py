"""Asset trees: their checks, and errors that name what would be right."""

from __future__ import annotations

import numpy as np
import pytest

from assets.asset import Body, Geom, Joint, box_inertia, rotation_matrix, rpy, turn_z_onto
from assets.errors import InputError, unknown


def test_unknown_names_the_nearest() -> None:
    error = unknown("arm", "ur10", ["ur10e", "ur20", "panda"])
    assert isinstance(error, ValueError)
    assert str(error).startswith("unknown arm 'ur10': did you mean 'ur10e'")
    assert "known are a, b" in str(unknown("look", "zzz", ["b", "a"]))


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("boxx", (1, 1, 1), "did you mean 'box'"),
        ("box", (1, 1), "has 3 sizes, 2 were given"),
        ("sphere", (-1,), "must be positive"),
        ("sphere", (float("nan"),), "must be positive"),
    ],
)
def test_bad_geoms_are_refused(kind: str, size: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Geom("g", kind, size)


def test_bad_bodies_are_refused() -> None:
    with pytest.raises(InputError, match="mass -1"):
        Body("b", mass=-1)
    with pytest.raises(InputError, match="belongs to no real body"):
        Body("b", mass=1, inertia=(1, 0, 0, 1, 0, 3))
    with pytest.raises(InputError, match="not both"):
        Body("b", free=True, joint=Joint("j", (0, 0, 1), (0, 1), 1, 1))


def test_trees_are_walked_found_and_extended() -> None:
    tree = Body("a", mass=1, inertia=box_inertia((1, 1, 1), 1), children=(Body("b"), Body("c", children=(Body("d"),))))
    assert [b.name for b in tree.walk()] == ["a", "b", "c", "d"]
    grown = tree.attach("d", Body("e", mass=2, inertia=box_inertia((1, 2, 3), 2)))
    assert grown.find("d").children[0].name == "e"
    assert grown.total_mass() == 3
    assert tree.find("d").children == ()
    with pytest.raises(InputError, match="unknown body 'f'"):
        tree.find("f")


def test_turns() -> None:
    quarter = rotation_matrix(rpy(np.pi / 2, 0, 0))
    np.testing.assert_allclose(quarter @ [0, 0, 1], [0, -1, 0], atol=1e-15)
    for direction in ((1, 0, 0), (0, -2, 0), (0, 0, -1), (0.3, -0.4, 1.2)):
        turned = rotation_matrix(turn_z_onto(direction)) @ [0, 0, 1]
        np.testing.assert_allclose(turned, np.array(direction) / np.linalg.norm(direction), atol=1e-12)
