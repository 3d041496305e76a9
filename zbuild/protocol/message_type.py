"""The numbers of all messages but those about blobs. 0 to 10 are the seed's."""

from __future__ import annotations

import enum


class MessageType(enum.IntEnum):
    """The first element of every message."""

    REGISTRATION = 0
    ACTION_REQUEST = 1
    ACTION_RESULT = 2
    HEARTBEAT = 3
    STEAL_REQUEST = 4
    STEAL_RESPONSE = 5
    SHUTDOWN = 6
    WORK_REQUEST = 7
    PEER_ANNOUNCE = 9
    PEER_METRICS = 10
    WELCOME = 16
    REFUSED = 17
    LEASE = 18
    REVOKE = 19
    ACKNOWLEDGE = 20
    QUERY_PROPERTIES = 21
    PROPERTIES = 22
    FINISHED = 23
    CANCEL = 24
    KEEPALIVE = 25
    BUILD_STATE = 26
    STATUS_REQUEST = 27
    STATUS = 28
    GOODBYE = 29
    CLAIM = 30
    STEAL_ACCEPT = 31
    STEAL_NOTED = 32
