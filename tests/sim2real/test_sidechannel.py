import json
import socket
import threading
import time

import numpy as np
import pytest

from assets.errors import InputError
from sim2real.sidechannel import CellClient, Places, SideChannel, Ware


class Answering:
    """A side channel that answers each line with what `answer` makes of it: bytes, or None to hang up."""

    def __init__(self, answer):
        self.answer, self.heard = answer, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rb") as lines:
            for line in lines:
                self.heard.append(json.loads(line))
                said = self.answer(self.heard[-1])
                if said is None:
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                connection.sendall(said)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


def refused(answer, timeout=5.0):
    with (
        Answering(answer) as other,
        SideChannel("127.0.0.1", other.port, timeout) as channel,
        pytest.raises(InputError) as error,
    ):
        channel.ask("cell.feed")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_question_is_answered():
    with Answering(lambda m: b'{"ok": true, "mass": 7.5}\n') as other, SideChannel("127.0.0.1", other.port) as channel:
        assert channel.ask("cell.weigh", carton=np.int64(2)) == {"mass": 7.5}
        assert channel.ask("cell.weigh", carton=3) == {"mass": 7.5}
    assert other.heard == [{"ask": "cell.weigh", "carton": 2}, {"ask": "cell.weigh", "carton": 3}]


def test_a_refusal_gives_its_reason():
    assert "carton 9: announced are 0 … 2" in refused(
        lambda m: b'{"ok": false, "error": "carton 9: announced are 0 \xe2\x80\xa6 2"}\n'
    )


@pytest.mark.parametrize("nonsense", [b"hello\n", b"[1, 2]\n", b'{"mass": 3}\n', b"17\n"])
def test_nonsense_is_told_as_such(nonsense):
    assert "no JSON object with `ok`" in refused(lambda m: nonsense)


def test_hanging_up_is_told():
    assert "hung up" in refused(lambda m: None)


def test_silence_ends_and_a_late_answer_is_not_taken_for_the_next():
    def late(message):
        time.sleep(0.4)
        return b'{"ok": true, "late": 1}\n'

    with Answering(late) as other:
        channel = SideChannel("127.0.0.1", other.port, timeout=0.1)
        with pytest.raises(InputError, match=r"no answer within 0\.1 s"):
            channel.ask("cell.observe")
        time.sleep(0.5)
        with pytest.raises(InputError, match="connection is gone"):
            channel.ask("cell.weigh", carton=0)


def test_nobody_there_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match=f"side channel 127.0.0.1:{port} does not answer.*start the stand-in"):
        SideChannel("127.0.0.1", port)


def test_the_cell_is_seen_as_arrays():
    asked = []

    def ask(name, **message):
        asked.append((str(name), message))
        return {
            "time": 1.5,
            "position": [[0.1, 0.2, 0.3], None],
            "quaternion": [[1, 0, 0, 0], None],
            "place": ["put", "waiting"],
            "holding": None,
        }

    client = CellClient(ask)
    client.reset(Places(), [Ware((0.4, 0.3, 0.2), 5.0, offset=0.01)], seed=4)
    seen = client.observe()
    assert asked[0][0] == "cell.reset"
    assert asked[0][1]["cartons"] == [{"size": (0.4, 0.3, 0.2), "mass": 5.0, "offset": 0.01, "yaw": 0.0}]
    assert asked[0][1]["layout"]["pallet"] == (0.9, 0.0, 0.144)
    assert seen.position.shape == (2, 3)
    assert np.isnan(seen.position[1]).all()
    assert seen.place == ("put", "waiting")
    assert seen.holding is None
