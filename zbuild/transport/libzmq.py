"""Which libzmq this is."""

from __future__ import annotations


def libzmq_version() -> tuple[int, ...]:
    """Of the library that pyzmq has loaded; empty when it cannot be loaded."""
    try:
        import zmq
    except ImportError:
        return ()
    return tuple(zmq.zmq_version_info()[:3])
