"""What the files and sockets of a farm's daemons are called."""

from __future__ import annotations

BLOBS = "blobs"
"""The directory of a farm's blobs, below its cache directory."""

CONTROL_SOCKET = "control"
"""The control channel's socket in a --socket-dir."""

WORKER_LOCK = "lock"
"""The file in a worker's cache directory whose lock says that a worker uses it."""
STEAL_SOCKET = "steal-"
"""How the names of the Unix sockets begin at which workers answer each other."""
