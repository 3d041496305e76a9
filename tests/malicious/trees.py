"""Entries that lie, and a way to see that nothing came of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

ROOT_OF_ALL = "/zb/src"

HOSTILE_PATHS = {
    "empty": "",
    "the root": "/",
    "a dot": ".",
    "two dots": "..",
    "relative": "zb/src/a",
    "relative upwards": "../../canary/x",
    "upwards": "/zb/src/../../../canary/x",
    "upwards at the end": "/zb/src/zb-build/o/..",
    "upwards at the beginning": "/../canary/x",
    "upwards through itself": "/zb/src/zb-build/o/../../../../canary/x",
    "a dot inside": "/zb/src/./a",
    "a dot at the end": "/zb/src/zb-build/o/.",
    "two slashes inside": "/zb/src//a",
    "two slashes at the beginning": "//zb/src/a",
    "a slash at the end": "/zb/src/zb-build/o/",
    "a NUL": "/zb/src/a\0b",
    "a NUL at the end": "/zb/src/zb-build/o\0",
    "nothing but a NUL": "\0",
    "a NUL before the way up": "/zb/src/\0/../../canary/x",
    "a long component": "/zb/src/" + "x" * 256,
    "a long component in bytes": "/zb/src/" + "\u00e9" * 128,
    "too long": "/zb/src" + "/xxxxxxx" * 400,
    "depth 10,000": "/zb/src" + "/d" * 10_000,
    "a million slashes": "/" * 1_000_000,
    "/etc": "/etc/passwd",
    "/usr": "/usr/bin/cc",
    "/proc": "/proc/self/mem",
    "/dev": "/dev/null",
    "/sys": "/sys/kernel",
    "/bin itself": "/bin",
}
"""What no entry of an action may be called. Those in the worker's own directories are well formed."""

WRONG_TYPES = {"nil": None, "a number": 7, "bytes": b"/zb/src/a", "a list": ["/zb/src/a"], "a map": {"/zb": 1}}
"""In place of a path."""

LYING_DIGESTS = {
    "31 bytes": [b"\1" * 31, 4],
    "33 bytes": [b"\1" * 33, 4],
    "no bytes": [b"", 4],
    "text": ["1" * 32, 4],
    "a negative size": [b"\1" * 32, -1],
    "a size that is text": [b"\1" * 32, "4"],
    "a size beyond 64 bits": [b"\1" * 32, 2.0**80],
    "no size": [b"\1" * 32],
    "nothing": [],
    "nil": None,
}
"""In place of a digest."""


def everything(directory: Path, excepted: Path) -> dict[str, tuple[int, bytes]]:
    """Path to mode and contents, or target, of all that lies in ``directory`` and not in ``excepted``."""
    found: dict[str, tuple[int, bytes]] = {}
    for parent, directories, names in os.walk(directory):
        for name in (*directories, *names):
            path = Path(parent, name)
            if path == excepted:
                continue
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                data = os.fsencode(os.readlink(path))
            else:
                data = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path)] = (mode, data)
        directories[:] = [name for name in directories if Path(parent, name) != excepted]
    return found
