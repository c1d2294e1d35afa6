"""Recordings: written and read back the same, and refused in one line for whatever makes them unfit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from assets.errors import InputError
from sim2real.log import Log, LogWriter
from sim2real.recording import Recording, safety_words
from sim2real.rtde import SafetyBit

ROWS, RATE = 600, 500.0


def recording(**changed: object) -> Recording:
    """A second and more of a slow swing, with noise in the readings; `changed` columns replace those."""
    random = np.random.default_rng(0)
    time = 3.0 + np.arange(ROWS) / RATE
    target = 0.1 * np.sin(time)[:, None] * np.ones(6)
    requested, sent = target.copy(), target.copy()
    requested[:10] = sent[:10] = np.nan
    columns = {
        "time": time,
        **{name: random.normal(size=(ROWS, 6)) for name in ("position", "velocity", "current", "torque", "tcp_force")},
        "safety": np.full(ROWS, SafetyBit.NORMAL, np.uint32),
        "requested": requested,
        "sent": sent,
        "outputs": (np.arange(ROWS) // 200).astype(np.uint32),
    }
    return Recording("stand-in, not hardware", "ur20", RATE, **{**columns, **changed})  # type: ignore[arg-type]


def with_rows(name: str, rows: slice, value: object) -> Recording:
    """The recording with some rows of one column changed."""
    column = getattr(recording(), name).copy()
    column[rows] = value
    return recording(**{name: column})


def test_a_log_gives_back_the_same_recording(tmp_path: Path) -> None:
    before = recording()
    before.write(tmp_path / "a.mcap")
    after = Recording.read(tmp_path / "a.mcap")
    for field in dataclasses.fields(Recording):
        np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name), err_msg=field.name)
    assert after.checked("ur20", RATE) is after
    assert Log(tmp_path / "a.mcap").complete


def test_a_part_is_a_recording() -> None:
    part = recording().part(100, 400)
    assert len(part) == 300
    assert part.time[0] == recording().time[100]
    assert part.checked("ur20") is part


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            lambda: recording(time=np.delete(np.arange(ROWS + 5) / RATE, slice(100, 105))),
            "1 gap, .* 12 ms after 0.198 s",
        ),
        (lambda: recording(time=np.roll(np.arange(ROWS) / RATE, 7)), "backwards"),
        (lambda: with_rows("time", slice(5, 6), np.nan), "time that is not"),
        (
            lambda: with_rows("position", slice(250, 253), np.nan),
            "3 rows whose position is not .* from 0.500 s",
        ),
        (lambda: with_rows("torque", slice(0, 1), np.inf), "torque"),
        (lambda: with_rows("safety", slice(300, 400), 4 | 1024), r"stopped \(protective stop.*at 0.600 s"),
        (lambda: recording().part(0, 100), "0.20 s long, too short"),
        (lambda: recording().part(0, 1), "too short"),
    ],
)
def test_an_unfit_recording_is_refused_in_one_line(made, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        made().checked("ur20", RATE, where="a.mcap")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("a.mcap ")


def test_another_arm_or_rate_is_refused() -> None:
    with pytest.raises(InputError, match="is of the arm ur20, wanted is ur10e"):
        recording().checked("ur10e")
    with pytest.raises(InputError, match="500 rows a second, wanted are 125"):
        recording().checked("ur20", 125.0)


def frozen(seconds: float) -> Recording:
    """A recording whose readings stand still for a while."""
    rows = slice(200, 200 + round(seconds * RATE))
    columns = {name: getattr(recording(), name).copy() for name in ("position", "velocity", "current")}
    for column in columns.values():
        column[rows] = column[rows.start]
    return recording(**columns)


def test_a_frozen_state_is_refused_where_the_target_moved() -> None:
    with pytest.raises(InputError, match=r"frozen state from 0.400 s on: nothing changed for 398 ms"):
        frozen(0.4).checked()
    assert frozen(0.02).checked()  # too short to tell
    still = dataclasses.replace(frozen(0.4), sent=np.ones((ROWS, 6)))
    assert still.checked()  # an arm that is told to stand may stand


def test_shapes_must_fit() -> None:
    with pytest.raises(InputError, match=r"position must have shape \(600, 6\)"):
        recording(position=np.zeros((599, 6)))


def test_a_log_that_was_cut_off_reads_as_far_as_it_goes(tmp_path: Path) -> None:
    recording().write(tmp_path / "whole.mcap")
    content = (tmp_path / "whole.mcap").read_bytes()
    lengths = []
    for share in (0.2, 0.5, 0.8):
        (tmp_path / "cut.mcap").write_bytes(content[: int(len(content) * share)])
        log = Log(tmp_path / "cut.mcap")
        assert not log.complete
        assert log.about["arm"] == "ur20"
        lengths.append(len(log.state))
    assert lengths == sorted(lengths)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with pytest.raises(InputError, match="no such robot log"):
        Recording.read(path)
    path.write_bytes(b"something else entirely")
    with pytest.raises(InputError, match="not a readable MCAP"):
        Recording.read(path)
    writer = LogWriter(tmp_path / "empty.mcap", {"source": "x", "arm": "ur20", "rate": "500.0"})
    writer.close()
    with pytest.raises(InputError, match="holds no state"):
        Recording.read(tmp_path / "empty.mcap")


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    recording().write(tmp_path / "a.mcap")
    with pytest.raises(InputError, match="exists already"):
        recording().write(tmp_path / "a.mcap")


def test_another_program_finds_the_layout_in_the_file(tmp_path: Path) -> None:
    import json

    from mcap.reader import make_reader

    recording().write(tmp_path / "a.mcap")
    with (tmp_path / "a.mcap").open("rb") as file:
        schema, _, message = next(make_reader(file).iter_messages(topics=["/state"]))
    assert schema is not None
    layout = [(n, t) if not shape else (n, t, tuple(shape[0])) for n, t, *shape in json.loads(schema.data)]
    row = np.frombuffer(message.data, layout)
    np.testing.assert_array_equal(row["position"][0], recording().position[0])


def test_safety_bits_in_words() -> None:
    assert safety_words(1) == "normal"
    assert safety_words(4 | 1024) == "protective stop, stopped due to safety"
    assert safety_words(0) == "no safety status"
