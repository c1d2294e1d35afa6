"""Friction pairs and looks."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from assets.errors import InputError
from assets.looks import CARDBOARDS, FLOORS, LOOKS, WOODS, Texture, look, texture_image
from assets.materials import DYNAMIC_PART, FRICTIONS, SURFACES, friction


def test_published_pairs() -> None:
    assert friction("cardboard", "cardboard").static == 0.5
    assert friction("wood", "cardboard") == friction("cardboard", "wood")
    assert friction("cardboard", "wood").dynamic == pytest.approx(0.375)
    assert friction("plywood", "plastic").static == 0.2
    assert friction("wood", "plywood").static == 0.45
    assert (friction("plastic", "wood").static, friction("plastic", "wood").dynamic) == (0.31, 0.20)
    assert friction("plastic", "cardboard").range == (0.2, 0.5)
    assert "CTU" in friction("cardboard", "cardboard").source


def test_all_pairs_are_sound() -> None:
    for pair, values in FRICTIONS.items():
        assert pair <= set(SURFACES)
        low, high = values.range
        assert 0 < low <= values.static <= high < 1.2, pair
        assert 0 < values.dynamic < values.static
        assert values.source
        if values.source == "estimate":
            assert values.dynamic == pytest.approx(DYNAMIC_PART * values.static)


def test_unknown_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'cardboard'"):
        friction("cardbord", "wood")
    with pytest.raises(InputError, match="no friction is known between 'concrete' and 'belt'"):
        friction("concrete", "belt")


def test_textures_are_deterministic_and_tile() -> None:
    for name, kind in LOOKS.items():
        assert look(name) is kind
        if kind.texture is None:
            continue
        image = texture_image(kind.texture)
        assert image.shape == (kind.texture.size, kind.texture.size, 3)
        assert image.dtype == np.uint8
        assert 64 <= kind.texture.size <= 256
        assert image.std() > 1
        np.testing.assert_array_equal(image, texture_image(kind.texture))
    pixels = texture_image(Texture("fibre", (0.74, 0.58, 0.40), (0.60, 0.44, 0.28), 128, 0.4, 0))
    np.testing.assert_array_equal(pixels, texture_image(LOOKS["cardboard"].texture or pytest.fail("no texture")))
    assert not np.array_equal(pixels, texture_image(Texture("fibre", (0.74, 0.58, 0.40), (0.60, 0.44, 0.28), seed=7)))


def test_pools_differ() -> None:
    for pool in (CARDBOARDS, WOODS, FLOORS):
        digests = {
            hashlib.sha256(texture_image(LOOKS[n].texture or pytest.fail(n)).tobytes()).hexdigest() for n in pool
        }
        assert len(digests) == len(pool) >= 4


def test_unknown_looks_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'cardboard"):
        look("cardbord")
    with pytest.raises(InputError, match="unknown kind of texture 'fur'"):
        texture_image(Texture("fur", (0, 0, 0), (1, 1, 1)))
