"""Pickles, made and loaded by another interpreter: this repository imports no pickle."""

from __future__ import annotations

import json
import subprocess
import sys

_DUMP = "import json, pickle, sys; sys.stdout.buffer.write(pickle.dumps(json.load(sys.stdin), int(sys.argv[1])))"
_LOAD = "import json, pickle, sys; json.dump(pickle.load(sys.stdin.buffer), sys.stdout)"


def pickled(value: object, protocol: int = 4) -> bytes:
    """The pickle of a value that JSON can express; 4 is the protocol that Meson uses."""
    return _run(_DUMP, json.dumps(value).encode(), str(protocol))


def unpickled(data: bytes) -> object:
    """The value of such a pickle."""
    value: object = json.loads(_run(_LOAD, data))
    return value


def _run(program: str, data: bytes, *arguments: str) -> bytes:
    return subprocess.run(
        [sys.executable, "-I", "-c", program, *arguments], input=data, capture_output=True, check=True
    ).stdout
