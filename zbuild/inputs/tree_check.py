"""Compares trees with the machine in a process of its own, while this one does something else.

``stat`` of the 9,000 headers of a compiler takes 20 ms. A client would wait for them before its first action, when its
farm has nothing to do either. A thread would not help: it needs the interpreter between two files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence

from zbuild.inputs.tree_digest import TreeDigest
from zbuild.limits import PIPE_READ_BYTES
from zbuild.module_process import fork

_IS_CURRENT, _HAS_CHANGED = b"+-"


class TreeCheck:
    """A check under way. It ends by itself, whether it is asked or not. ``fork`` says what must not have been before.

    Args:
        trees: by the roots that they were made of.

    Raises:
        OSError: there can be no such process.
    """

    def __init__(self, trees: Mapping[tuple[str, ...], TreeDigest]) -> None:
        self._roots = tuple(trees)
        self._report, report = os.pipe2(os.O_CLOEXEC)
        try:
            self._process = fork(lambda: _compare(tuple(trees.values()), report), kept=[report])
        except OSError:
            os.close(self._report)
            raise
        finally:
            os.close(report)

    def current(self) -> set[tuple[str, ...]]:
        """The roots of the trees that are as they were; waits for the end. To be called once.

        None of the trees that the process has not come to, if it ended too soon.
        """
        said = b""
        while piece := os.read(self._report, PIPE_READ_BYTES):
            said += piece
        os.close(self._report)
        self._process.wait()
        return {roots for roots, verdict in zip(self._roots, said, strict=False) if verdict == _IS_CURRENT}


def _compare(trees: Sequence[TreeDigest], report: int) -> int:
    """One byte for each tree, in order."""
    # Whoever asked may be gone.
    with contextlib.suppress(BrokenPipeError):
        for tree in trees:
            os.write(report, bytes([_IS_CURRENT if tree.is_current() else _HAS_CHANGED]))
    return 0
