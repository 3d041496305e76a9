"""The sockets of a steal: real ones on loopback, and peers that do not keep to the protocol."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import zmq

from tests.polling import wait_until
from tests.unit.worker.steal_driver import announcement, request, response
from zbuild.errors import FarmUnreachable
from zbuild.limits import STEAL_SOCKETS
from zbuild.protocol.codec import encode, to_thief
from zbuild.protocol.steal_messages import (
    Announcement,
    StealAccept,
    StealAnswer,
    StealNoted,
    StealQuestion,
    StealResponse,
)
from zbuild.transport.green import Wakeup
from zbuild.transport.loop import Context, Socket, new_context
from zbuild.worker.effects import Ask, HangUp, WorkerEffect
from zbuild.worker.steal_link import StealLink

ANYWHERE = "tcp://127.0.0.1:*"
NOBODY = "tcp://127.0.0.1:1"
PATIENCE_MS = 20_000


_sockets: list[Socket] = []
"""The test's own, to be closed with the context."""


class Decider:
    """Stands for the core: keeps what it is told."""

    def __init__(self) -> None:
        self.questions: list[StealQuestion] = []
        self.answers: list[tuple[str, StealAnswer]] = []
        self.announcements: list[Announcement] = []
        self.effects: list[WorkerEffect] = []

    def requested(self, question: StealQuestion, now_s: float) -> tuple[StealAnswer, list[WorkerEffect]]:
        assert now_s > 0
        self.questions.append(question)
        if isinstance(question, StealAccept):
            return StealNoted(victim=1), []
        return response(transfer=len(self.questions)), self.effects

    def answered(self, endpoint: str, answer: StealAnswer, now_s: float) -> list[WorkerEffect]:
        assert now_s > 0
        self.answers.append((endpoint, answer))
        return []

    def announced(self, announced: Announcement, now_s: float) -> None:
        assert now_s > 0
        self.announcements.append(announced)


@pytest.fixture
def context() -> Iterator[Context]:
    made = new_context()
    yield made
    while _sockets:
        _sockets.pop().close()
    made.term()


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    made = Wakeup()
    yield made
    made.close()


@pytest.fixture
def link(context: Context, wakeup: Wakeup) -> Iterator[StealLink]:
    made = StealLink(context, wakeup, [ANYWHERE], Counter())
    yield made
    made.close()


@pytest.fixture
def decider() -> Decider:
    return Decider()


def peer(context: Context, kind: int, endpoint: str) -> Socket:
    """A socket of the test's own."""
    socket = context.socket(kind)
    _sockets.append(socket)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
    if endpoint.endswith("*"):
        socket.bind(endpoint)
    else:
        socket.connect(endpoint)
    return socket


def endpoint_of(socket: Socket) -> str:
    return bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()


def serve_until(link: StealLink, decider: Decider, kept: str, count: int) -> None:
    def has_come() -> bool:
        link.serve(decider)
        return len(getattr(decider, kept)) >= count

    wait_until(has_come, f"{count} {kept}")


def asked_by(socket: Socket, data: list[bytes], link: StealLink, decider: Decider) -> list[bytes]:
    """What the link answers to these frames."""
    socket.send_multipart(data)

    def has_answered() -> bool:
        link.serve(decider)
        return bool(socket.poll(0))

    wait_until(has_answered, "an answer")
    return socket.recv_multipart()


def test_two_links_talk(context: Context, wakeup: Wakeup, link: StealLink, decider: Decider) -> None:
    thief, thieving = StealLink(context, wakeup, [ANYWHERE], Counter()), Decider()
    try:
        for number in range(1, 4):
            thief.ask(Ask(link.endpoint, request()))
            serve_until(link, decider, "questions", number)
            serve_until(thief, thieving, "answers", number)
        assert decider.questions == [request()] * 3
        assert thieving.answers[-1] == (link.endpoint, response(transfer=3))
    finally:
        thief.close()


def test_what_an_answer_entails_is_handed_on(context: Context, link: StealLink, decider: Decider) -> None:
    decider.effects = [HangUp("somebody")]
    socket = peer(context, zmq.REQ, link.endpoint)
    socket.send(encode(request()))
    found: list[WorkerEffect] = []

    def has_come() -> bool:
        found.extend(link.serve(decider))
        return bool(found)

    wait_until(has_come)
    assert found == decider.effects


@pytest.mark.parametrize(
    "frames",
    [[b""], [b"\xc1"], [b"\x00" * 1000], [encode(request()), b"more"], [encode(response())], [encode(announcement(1))]],
    ids=["empty", "no msgpack", "zeros", "two frames", "an answer", "an announcement"],
)
def test_whatever_comes_is_answered_and_the_next_one_is_heard(
    context: Context, link: StealLink, decider: Decider, frames: list[bytes]
) -> None:
    """REP that does not answer hears nobody any more."""
    socket = peer(context, zmq.REQ, link.endpoint)
    assert asked_by(socket, frames, link, decider) == [b""]
    assert link.counters["steal_bad_message"] == 1
    assert not decider.questions
    (answer,) = asked_by(socket, [encode(request())], link, decider)
    assert isinstance(to_thief.decode(answer), StealResponse)


def test_a_message_that_is_too_large_harms_nobody_else(context: Context, link: StealLink, decider: Decider) -> None:
    large = peer(context, zmq.REQ, link.endpoint)
    large.send(bytes(4 << 20))
    socket = peer(context, zmq.REQ, link.endpoint)
    asked_by(socket, [encode(request())], link, decider)
    assert len(decider.questions) == 1


@pytest.mark.parametrize("frames", [[b""], [b"\xc1"], [encode(response()), b"more"], [encode(request())]])
def test_an_answer_that_is_none_is_counted_and_the_next_question_is_answered(
    context: Context, link: StealLink, decider: Decider, frames: list[bytes]
) -> None:
    victim = peer(context, zmq.REP, ANYWHERE)
    link.ask(Ask(endpoint_of(victim), request()))
    victim.recv()
    victim.send_multipart(frames)

    def is_counted() -> bool:
        link.serve(decider)
        return link.counters["steal_bad_message"] == 1

    wait_until(is_counted)
    assert not decider.answers
    link.ask(Ask(endpoint_of(victim), request()))
    victim.recv()
    victim.send(encode(response()))
    serve_until(link, decider, "answers", 1)


def test_one_that_never_answers_is_hung_up_on_and_asked_anew_over_another_socket(
    context: Context, link: StealLink, decider: Decider
) -> None:
    """A REQ without its reply cannot be used: its late reply must not be taken for the answer to the next question."""
    victim = peer(context, zmq.ROUTER, ANYWHERE)
    link.ask(Ask(endpoint_of(victim), request(thief=2)))
    first = victim.recv_multipart()
    link.hang_up(endpoint_of(victim))
    link.hang_up(endpoint_of(victim))
    link.ask(Ask(endpoint_of(victim), request(thief=3)))
    second = victim.recv_multipart()
    assert first[0] != second[0]
    victim.send_multipart([*first[:-1], encode(response(thief=2))])
    victim.send_multipart([*second[:-1], encode(response(thief=3))])
    serve_until(link, decider, "answers", 1)
    assert not link.has_input()
    assert decider.answers == [(endpoint_of(victim), response(thief=3))]


def test_a_victim_that_is_started_again_is_asked_over_the_same_socket(link: StealLink, decider: Decider) -> None:
    at = ANYWHERE
    for number in (1, 2):
        with new_context() as life, life.socket(zmq.REP) as victim:
            victim.setsockopt(zmq.LINGER, PATIENCE_MS)
            victim.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
            victim.bind(at)
            at = endpoint_of(victim)
            link.ask(Ask(at, request()))
            victim.recv()
            victim.send(encode(response(transfer=number)))
            serve_until(link, decider, "answers", number)
    assert decider.answers[-1] == (at, response(transfer=2))


@pytest.mark.parametrize("endpoint", ["", "nonsense", "tcp://", "tcp://127.0.0.1", "pigeon://loft", "ipc://"])
def test_an_endpoint_that_is_none_is_counted(link: StealLink, decider: Decider, endpoint: str) -> None:
    link.ask(Ask(endpoint, request()))
    assert link.counters["steal_bad_endpoint"] == 1
    assert link.serve(decider) == []
    link.hang_up(endpoint)


def test_a_descriptor_is_kept_for_each_of_the_last_peers_only(
    context: Context, link: StealLink, decider: Decider
) -> None:
    victims = [peer(context, zmq.REP, ANYWHERE) for _ in range(STEAL_SOCKETS + 4)]

    def steal_from(number: int) -> None:
        link.ask(Ask(endpoint_of(victims[number]), request()))
        victims[number].recv()
        victims[number].send(encode(response()))
        serve_until(link, decider, "answers", len(decider.answers) + 1)

    for number in range(len(victims)):
        steal_from(number)
    count = _descriptors()
    for number in [*range(len(victims)), 3, 3, 1]:
        steal_from(number)
    wait_until(lambda: _descriptors() <= count + 4, "closed sockets to be gone")
    assert len(link._requests) <= STEAL_SOCKETS + 1


def test_sockets_whose_answer_is_awaited_are_not_closed_for_others(link: StealLink) -> None:
    endpoints = [f"tcp://127.0.0.1:{port}" for port in range(1, STEAL_SOCKETS + 10)]
    for endpoint in endpoints:
        link.ask(Ask(endpoint, request()))
    assert list(link._requests) == endpoints
    for endpoint in endpoints:
        link.hang_up(endpoint)
    assert not link._requests


def test_peers_that_are_not_there_leak_nothing(context: Context, link: StealLink, decider: Decider) -> None:
    link.ask(Ask(NOBODY, request()))
    link.hang_up(NOBODY)
    count = _descriptors()
    for _ in range(50):
        link.ask(Ask(NOBODY, request()))
        link.serve(decider)
        link.hang_up(NOBODY)
    wait_until(lambda: _descriptors() <= count + 6, "closed sockets to be gone")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_announcements_are_heard_and_what_is_none_is_counted(
    context: Context, link: StealLink, decider: Decider
) -> None:
    broker = peer(context, zmq.PUB, ANYWHERE)
    link.subscribe(endpoint_of(broker))

    def is_heard() -> bool:
        for frames in ([b"\xc1"], [b"", b""], [encode(announcement(1))]):
            broker.send_multipart(frames)
        link.serve(decider)
        return bool(decider.announcements) and link.counters["steal_bad_message"] >= 2

    wait_until(is_heard)
    assert decider.announcements[0] == announcement(1)


def test_another_broker_is_listened_to_instead(context: Context, link: StealLink, decider: Decider) -> None:
    old, new = peer(context, zmq.PUB, ANYWHERE), peer(context, zmq.PUB, ANYWHERE)
    link.subscribe(endpoint_of(old))
    link.subscribe(endpoint_of(old))
    link.subscribe(endpoint_of(new))

    def is_heard() -> bool:
        old.send(encode(announcement(1)))
        new.send(encode(announcement(2)))
        link.serve(decider)
        return bool(decider.announcements)

    wait_until(is_heard)
    assert announcement(1) not in decider.announcements
    link.subscribe("")
    decider.announcements.clear()
    new.send(encode(announcement(2)))
    link.serve(decider)
    assert not decider.announcements


def test_the_first_endpoint_that_is_free_is_taken(context: Context, wakeup: Wakeup, link: StealLink) -> None:
    second = StealLink(context, wakeup, [link.endpoint, ANYWHERE], Counter())
    assert second.endpoint not in ("", link.endpoint)
    with pytest.raises(FarmUnreachable):
        StealLink(context, wakeup, [link.endpoint], Counter())
    second.close()


def test_a_worker_that_is_to_keep_to_itself_listens_nowhere(context: Context, wakeup: Wakeup, decider: Decider) -> None:
    alone = StealLink(context, wakeup, [], Counter())
    alone.subscribe(NOBODY)
    assert (alone.endpoint, alone.serve(decider), alone.has_input()) == ("", [], False)
    alone.close()
