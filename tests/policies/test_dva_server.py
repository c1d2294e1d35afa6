"""The server and its client: what a network or a killed process does neither confuses them nor makes the arm wait."""

from __future__ import annotations

import dataclasses
import multiprocessing as mp
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from dva_lab import HOME, RHYTHM, SPEED, Walker, fly, seen, wait

from assets.errors import InputError
from policies.dva import server as serving
from policies.dva.leapfrog import Flight, Question
from policies.dva.realtime import RealtimeLoop
from policies.dva.remote import RemoteDecider
from policies.dva.server import PolicyServer
from policies.dva.wire import LENGTHS, MARK, Line, Message, packed, question_message, question_of, unpacked

HOST = "127.0.0.1"
ABOUT = {"checkpoint": "c0ffee", "chunk": 4}


def question(number: int = 1, world: int = 0, first: int = 0, frames: int = 2) -> Question:
    random = np.random.default_rng(number)
    return Question(
        world=world,
        number=number,
        episode=5,
        task=1,
        first=first,
        pictures={"cell": random.integers(0, 255, (frames, 4, 4, 3), dtype=np.uint8)},
        proprio=random.normal(size=(frames, 2)).astype(np.float32),
        led=random.normal(size=(frames, 2, 2)).astype(np.float32),
        in_flight=random.normal(size=(4, 2, 2)).astype(np.float32),
    )


def same(one: Question, two: Question) -> None:
    for field in dataclasses.fields(Question):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name == "pictures":
            assert a.keys() == b.keys()
            a, b = a["cell"], b["cell"]
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def decider() -> Walker:
    return Walker()


@pytest.fixture
def server(decider: Walker) -> Iterator[PolicyServer]:
    with PolicyServer(decider, ABOUT, nworld=2, port=0) as found:
        yield found


@pytest.fixture
def client(server: PolicyServer) -> Iterator[RemoteDecider]:
    with RemoteDecider(*server.address, budget=10.0) as found:
        yield found


Script = Callable[[Line], None]


class Scripted:
    """A server that does what the test says with each call; it greets as it should unless told otherwise."""

    def __init__(self, *calls: Script, welcome: dict[str, object] | None = None) -> None:
        self._calls = list(calls)
        self._welcome = {"say": "welcome", "protocol": 1, "about": ABOUT, **(welcome or {})}
        self._listening = socket.create_server((HOST, 0))
        self._listening.settimeout(0.2)
        self.address = self._listening.getsockname()[:2]
        self.trouble: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._calls:
                script = self._calls.pop(0)
                line = Line(self._accept())
                line.receive(2.0)
                line.send(self._welcome, None, 2.0)
                script(line)
                line.close()
        except Exception as error:
            self.trouble = error

    def _accept(self) -> socket.socket:
        for _ in range(25):
            try:
                return self._listening.accept()[0]
            except TimeoutError:
                continue
        raise TimeoutError("nobody called")

    def close(self) -> None:
        self._thread.join(5.0)
        self._listening.close()
        assert self.trouble is None


def answer(line: Line, asked: Question, actions: np.ndarray | None = None) -> None:
    chunk = Walker()._chunk(asked) if actions is None else actions
    line.send({"say": "chunk", "number": asked.number, "world": asked.world}, {"actions": chunk}, 2.0)


def heard(line: Line) -> Question:
    return question_of(line.receive(2.0))


# ---- messages --------------------------------------------------------------------------------------------------------


def test_a_question_survives_the_wire_bit_for_bit() -> None:
    asked = question()
    data = packed(*question_message(asked))
    head, body = LENGTHS.unpack_from(data, len(MARK))
    begin = len(data) - head - body
    same(question_of(unpacked(data[begin : begin + head], data[begin + head :])), asked)


def test_messages_come_whole_however_they_are_cut() -> None:
    here, there = socket.socketpair()
    line, data = Line(there), b"".join(packed(*question_message(question(n))) for n in (1, 2))
    found: list[Message] = []
    for k in range(0, len(data), 37):
        here.sendall(data[k : k + 37])
        try:
            found.append(line.receive(0.0))
        except TimeoutError:
            continue
    found += [line.receive(1.0) for _ in range(2 - len(found))]
    for number, message in enumerate(found, 1):
        same(question_of(message), question(number))
    assert not line.waiting
    here.close(), line.close()


def without(key: str, message: Message) -> Message:
    return {k: v for k, v in message[0].items() if k != key}, {k: v for k, v in message[1].items() if k != key}


BAD = {
    "speaks no palletlab": b"GET / HTTP/1.1\r\n\r\n",
    "at most": MARK + LENGTHS.pack(1 << 30, 0),
    "cannot be read": MARK + LENGTHS.pack(4, 0) + b"{no}",
    "cannot be read (ValueError": MARK + LENGTHS.pack(38, 4) + b'{"arrays": [["a", "f4", [2]]]        }' + b"abcd",
    "without 'number'": packed(*without("number", question_message(question()))),
    "without 'led'": packed(*without("led", question_message(question()))),
    "do not fit each other": packed(*question_message(dataclasses.replace(question(), led=np.zeros((3, 2, 2))))),
}


@pytest.mark.parametrize("says", BAD)
def test_a_message_that_is_none_is_refused_in_one_line_and_harms_nobody(
    says: str, server: PolicyServer, client: RemoteDecider
) -> None:
    stranger = Line(socket.create_connection(server.address, 2.0))
    stranger.send({"say": "hello", "protocol": 1, "session": "x", "checkpoint": None}, None, 2.0)
    assert stranger.receive(2.0)[0]["say"] == "welcome"
    stranger._socket.sendall(BAD[says])
    refused = stranger.receive(2.0)[0]
    assert refused["say"] == "refused"
    assert says in refused["why"]
    assert "\n" not in refused["why"]
    with pytest.raises(ConnectionError, match="hung up"):
        stranger.receive(2.0)
    stranger.close()
    assert client.decide([question()])[0].shape == (4, 2, 2)


# ---- asking ----------------------------------------------------------------------------------------------------------


def test_the_loop_flies_through_the_server_as_it_does_without(server: PolicyServer, client: RemoteDecider) -> None:
    flights = [Flight(RHYTHM), Flight(RHYTHM)]
    for flight in flights:
        flight.begin(HOME)
    local = fly(flights[0], Walker(), 40)
    np.testing.assert_array_equal(fly(flights[1], client, 40), local)  # pyright: ignore[reportArgumentType]
    assert client.about == ABOUT
    assert client.calls == 1


def test_each_arm_of_each_robot_has_a_world_and_the_longest_unused_is_taken_over(
    server: PolicyServer, client: RemoteDecider, decider: Walker
) -> None:
    with RemoteDecider(*server.address, budget=10.0) as other:
        for asker, world in ((client, 0), (client, 1), (client, 0), (other, 0)):
            asker.decide([question(world=world)])
    assert [q.world for q in decider.questions] == [0, 1, 0, 1]
    assert decider.forgotten == [0, 1, 1]


def test_a_bad_answer_of_the_models_is_told_and_the_line_stays(
    server: PolicyServer, client: RemoteDecider, decider: Walker
) -> None:
    good = decider._chunk

    def bad(_: Question) -> np.ndarray:
        raise InputError("the cell has no camera 'wrist'")

    decider._chunk = bad  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match="no camera 'wrist'"):
        client.decide([question()])
    decider._chunk = good
    client.decide([question(2)])
    assert client.calls == 1


def test_only_the_newest_of_several_waiting_questions_is_answered(server: PolicyServer, decider: Walker) -> None:
    line = Line(socket.create_connection(server.address, 2.0))
    hello = packed({"say": "hello", "protocol": 1, "session": "x", "checkpoint": None})
    line._socket.sendall(hello + b"".join(packed(*question_message(question(n))) for n in (1, 2, 3)))
    assert line.receive(2.0)[0]["say"] == "welcome"
    assert line.receive(2.0)[0]["number"] == 3
    assert [q.number for q in decider.questions] == [3]
    line.close()


def test_lost_doubled_and_stale_answers() -> None:
    first, second, third = question(1), question(2), question(3)

    def script(line: Line) -> None:
        lost = heard(line)
        assert lost.number == 1
        asked = heard(line)  # after the first was given up
        answer(line, lost, np.zeros((4, 2, 2)))  # stale
        answer(line, dataclasses.replace(asked, world=7), np.zeros((4, 2, 2)))  # another arm's
        answer(line, asked)
        answer(line, asked, np.zeros((4, 2, 2)))  # doubled
        answer(line, heard(line))

    server = Scripted(script)
    with RemoteDecider(*server.address, budget=0.15) as client:
        with pytest.raises(TimeoutError, match=r"gave no answer within 0\.15 s"):
            client.decide([first])
        client.budget = 10.0
        for asked in (second, third):
            np.testing.assert_array_equal(client.decide([asked])[0], Walker()._chunk(asked))
        assert client.stale == 3
        assert client.calls == 1
    server.close()


def test_half_an_answer_is_taken_up_where_it_stopped() -> None:
    def script(line: Line) -> None:
        asked = heard(line)
        chunk = packed({"say": "chunk", "number": 1, "world": 0}, {"actions": Walker()._chunk(asked)})
        line._socket.sendall(chunk[:30])
        again = heard(line)
        line._socket.sendall(chunk[30:])
        answer(line, again)

    server = Scripted(script)
    with RemoteDecider(*server.address, budget=0.15) as client:
        with pytest.raises(TimeoutError):
            client.decide([question(1)])
        client.budget = 10.0
        assert client.decide([question(2)])[0].shape == (4, 2, 2)
        assert (client.stale, client.calls) == (1, 1)
    server.close()


def test_a_client_whose_connection_broke_calls_again() -> None:
    def once(line: Line) -> None:
        answer(line, heard(line))

    server = Scripted(once, lambda line: None, once)
    with RemoteDecider(*server.address, budget=10.0) as client:
        client.decide([question(1)])
        for number in (2, 3):  # hung up after the answer; hung up at once
            with pytest.raises(ConnectionError, match="policy server"):
                client.decide([question(number)])
        client.decide([question(4)])
        assert client.calls == 3
    server.close()


def test_a_robot_that_calls_again_keeps_its_world(server: PolicyServer, client: RemoteDecider, decider: Walker) -> None:
    client.decide([question(1)])
    client._hang_up()
    client.decide([question(2)])
    assert [q.world for q in decider.questions] == [0, 0]
    assert decider.forgotten == [0]


# ---- who does not fit ------------------------------------------------------------------------------------------------


def complaint(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_checkpoint_version_or_nobody_there(server: PolicyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = server.address
    assert "this server has c0ffee" in complaint(lambda: RemoteDecider(host, port, checkpoint="decaf"))
    RemoteDecider(host, port, checkpoint="c0ffee").close()
    monkeypatch.setattr(serving, "PROTOCOL", 2)
    assert "you speak protocol 1, this server 2" in complaint(lambda: RemoteDecider(host, port))
    monkeypatch.undo()
    newer = Scripted(lambda line: None, welcome={"protocol": 3})
    assert "it speaks protocol 3, we speak 1" in complaint(lambda: RemoteDecider(*newer.address))
    newer.close()
    with socket.create_server((HOST, 0)) as silent:
        empty = silent.getsockname()[1]
    assert "no policy server answers at" in complaint(lambda: RemoteDecider(HOST, empty))
    assert f"{host}:{port} cannot be listened at" in complaint(lambda: PolicyServer(Walker(), {}, 1, host, port))


def test_a_server_that_comes_back_with_another_checkpoint_is_refused() -> None:
    with PolicyServer(Walker(), ABOUT, 1, port=0) as server:
        client = RemoteDecider(*server.address, budget=10.0)
        client.decide([question(1)])
    with PolicyServer(Walker(), {"checkpoint": "decaf"}, 1, port=server.address[1]):
        with pytest.raises(ConnectionError):
            client.decide([question(2)])
        assert "this server has decaf" in complaint(lambda: client.decide([question(3)]))
    client.close()


# ---- a killed server -------------------------------------------------------------------------------------------------


def serve(port: "mp.Queue[int]") -> None:  # noqa: UP037
    server = PolicyServer(Walker(), ABOUT, 1, port=0)
    port.put(server.address[1])
    time.sleep(60)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_when_the_server_is_killed_or_frozen_the_arm_holds_and_stops(how: signal.Signals) -> None:
    context = mp.get_context("spawn")
    told: mp.Queue[int] = context.Queue()
    process = context.Process(target=serve, args=(told,), daemon=True)
    process.start()
    try:
        port = told.get(timeout=30)
        with RemoteDecider(HOST, port, budget=1.5) as client, RealtimeLoop(client, RHYTHM, patience=2) as loop:
            loop.begin(HOME)
            actions, position, after, killed = [], HOME, 0, False
            for _ in range(400):
                if not killed:  # the machine may be busy: in time, whatever the clock says
                    wait(lambda: loop._flight.asked is None, 10.0)
                began = time.monotonic()
                order = loop.act(seen(position) if loop.at_frame else None)
                assert time.monotonic() - began < 0.7  # it does not wait for anybody
                position = order.action
                actions.append(position)
                if order.stop:
                    break
                after += killed
                if loop.counts.chunks == 3 and not killed:
                    assert process.pid is not None
                    os.kill(process.pid, how)
                    killed = True
                time.sleep(0.01)
            assert order.stop
            # What was decided, and its patience.
            assert after <= (4 + 4 + 2 + 1) * RHYTHM.stride
            assert np.abs(np.diff(np.stack(actions), axis=0)).max() < 1.01 * SPEED
            wait(lambda: loop.counts.lost >= 1)
            wait(lambda: "policy server" in loop.problem)
    finally:
        process.kill()
        process.join(5)
