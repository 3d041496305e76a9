"""One question to the broker, and its answer."""

from __future__ import annotations

import time

from zbuild.errors import FarmUnreachable, ProtocolError
from zbuild.limits import STATUS_TIMEOUT_S
from zbuild.protocol.codec import encode, to_client
from zbuild.protocol.messages import UNKNOWN_PEER, Refused
from zbuild.protocol.status_messages import Status, StatusRequest
from zbuild.transport.loop import new_context
from zbuild.transport.sockets import control_dealer


def query_status(broker: str, timeout_s: float = STATUS_TIMEOUT_S) -> Status:
    """The broker's snapshot of its farm.

    Raises:
        FarmUnreachable: nobody answers.
        ProtocolError: the answer is none of this protocol.
    """
    context = new_context()
    socket = control_dealer(context, broker)
    try:
        socket.send(encode(StatusRequest()))
        deadline_s = time.monotonic() + timeout_s
        while (remaining_s := deadline_s - time.monotonic()) > 0:
            if not socket.poll(int(remaining_s * 1000) + 1):
                break
            answer = to_client.decode(socket.recv())
            if isinstance(answer, Status):
                return answer
            if isinstance(answer, Refused) and answer.code == UNKNOWN_PEER:
                continue
            raise ProtocolError(f"the broker at {broker} answered {type(answer).__name__} instead of its status")
        raise FarmUnreachable(f"no broker has answered at {broker} for {timeout_s:g} s")
    finally:
        socket.close(0)
        context.term()
