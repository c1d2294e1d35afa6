from __future__ import annotations

import struct

import pytest

from assets.errors import InputError
from sim2real.rtde import (
    TYPES,
    Frames,
    Kind,
    Recipe,
    frame,
    names_in,
    outputs_reply,
    outputs_request,
    text_message,
    text_of,
    version_request,
)

VALUES = {
    "BOOL": True,
    "UINT8": 200,
    "UINT32": 4_000_000_000,
    "UINT64": 1 << 40,
    "INT32": -7,
    "DOUBLE": 0.1,
    "VECTOR3D": (1.0, 2.0, 3.0),
    "VECTOR6D": (0.1, -0.2, 0.3, -0.4, 0.5, 1e300),
    "VECTOR6INT32": (-1, 2, -3, 4, -5, 6),
    "VECTOR6UINT32": (1, 2, 3, 4, 5, 4_000_000_000),
}


def test_bytes_are_those_of_the_guide() -> None:
    assert version_request() == bytes([0, 5, ord("V"), 0, 2])
    assert frame(Kind.START) == bytes([0, 3, ord("S")])
    assert outputs_request(125.0, ["timestamp"]) == bytes([0, 20, ord("O")]) + struct.pack(">d", 125.0) + b"timestamp"
    assert Recipe(4, ["a", "b"], ["INT32", "UINT8"]).pack({"a": -2, "b": 9}) == bytes([4, 255, 255, 255, 254, 9])


def test_every_type_survives_the_wire() -> None:
    assert set(VALUES) == set(TYPES)
    recipe = Recipe(3, list(VALUES), list(VALUES))
    assert recipe.unpack(recipe.pack({**VALUES, "not asked for": 1})) == VALUES


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_come_out_whole_however_they_are_cut(size: int) -> None:
    sent = [(Kind.DATA, b"x" * n) for n in (0, 1, 300)] + [(Kind.TEXT, b"hello")]
    stream = b"".join(frame(kind, payload) for kind, payload in sent)
    frames = Frames()
    came = [m for at in range(0, len(stream), size) for m in frames.feed(stream[at : at + size])]
    assert came == sent


def test_nonsense_is_not_taken_for_messages() -> None:
    with pytest.raises(InputError, match="not RTDE"):
        list(Frames().feed(b"\x00\x00GET"))
    recipe = Recipe(1, ["a"], ["DOUBLE"])
    for payload in (b"", b"\x01", b"\x02" + bytes(8), b"\x01" + bytes(9)):
        with pytest.raises(InputError, match="RTDE data"):
            recipe.unpack(payload)
    with pytest.raises(InputError, match="2 fields, but 1"):
        Recipe(1, ["a", "b"], ["DOUBLE"])


def test_a_field_one_cannot_have_is_named() -> None:
    names = ["timestamp", "actual_nonsense"]
    with pytest.raises(InputError, match="'actual_nonsense'"):
        outputs_reply(bytes([0]) + b"DOUBLE,NOT_FOUND", names)
    with pytest.raises(InputError, match="'actual_nonsense' is in use"):
        outputs_reply(bytes([0]) + b"DOUBLE,IN_USE", names)
    assert outputs_reply(bytes([7]) + b"DOUBLE,UINT32", names).id == 7
    assert names_in(b"a,b,") == ("a", "b")


def test_texts() -> None:
    (message,) = Frames().feed(text_message("protective stop: something was hit", "stand-in", 2))
    assert text_of(message[1]) == ("protective stop: something was hit", "stand-in", 2)
