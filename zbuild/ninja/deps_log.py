"""``.ninja_deps``: the inputs that compilers reported, per output.

A binary file: the line ``# ninjadeps``, the version 4, then records of 32-bit words in the machine's
byte order, each beginning with its size in bytes. A path record holds a path, padded with NULs to whole
words, and the complement of its number, the count of path records before it. A deps record has the top
bit of its size set and holds the output's number, its mtime in ns (low word, high word) and the numbers
of its inputs. Source: ninja's ``src/deps_log.cc``.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from zbuild.errors import ManifestError
from zbuild.limits import NINJA_RECORD_BYTES
from zbuild.ninja.disk import Disk
from zbuild.ninja.graph import Graph
from zbuild.ninja.node import Node

FILE_NAME = ".ninja_deps"

_SIGNATURE = b"# ninjadeps\n"
_VERSION = 4
_WORD_BYTES = 4
_HEADER = _SIGNATURE + _VERSION.to_bytes(_WORD_BYTES, sys.byteorder)
_WORD_MASK = (1 << 32) - 1
_DEPS_BIT = 1 << 31
_DEPS_PREFIX_WORDS = 3
_MIN_COMPACTION_RECORDS = 1000
_COMPACTION_RATIO = 3
"""Rewrite a log of more than 1,000 deps records when there are over 3 per output: ``DepsLog::Load``."""


class Deps(Sequence[Node]):
    """The recorded inputs of an output, in order; ``mtime_ns``: the output's when they were recorded.

    The nodes are looked up when they are asked for; ``numbers`` are their numbers in the log.
    """

    __slots__ = ("_log_nodes", "mtime_ns", "numbers")

    def __init__(self, mtime_ns: int, numbers: Sequence[int], log_nodes: list[Node]) -> None:
        self.mtime_ns = mtime_ns
        self.numbers = numbers
        self._log_nodes = log_nodes

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Node]:
        return map(self._log_nodes.__getitem__, self.numbers)

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> list[Node]: ...
    def __getitem__(self, index: int | slice) -> Node | list[Node]:
        if isinstance(index, slice):
            return list(map(self._log_nodes.__getitem__, self.numbers[index]))
        return self._log_nodes[self.numbers[index]]


class DepsLog:
    """What was read from the log, and the way to add to it. It numbers the nodes of its graph.

    ``warning``: what was wrong with the file, or empty.
    """

    def __init__(self, disk: Disk, path: str, graph: Graph) -> None:
        """Read the log; none being there is fine. A damaged end is cut off.

        Raises:
            ManifestError: the file is there and cannot be read or repaired.
        """
        self._disk = disk
        self._path = path
        self._graph = graph
        self.warning = ""
        self._nodes: list[Node] = []
        self._deps: dict[int, Deps] = {}
        self._record_count = 0
        self._is_started = False
        graph.leaf_mtimes_ns.clear()
        for node in graph.nodes.values():
            node.log_id = -1
        try:
            data = disk.read(path)
            if data:
                self._load(data)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ManifestError(f"loading deps log {path}: {error.strerror}") from error

    def _load(self, data: bytes) -> None:
        if not data.startswith(_HEADER):
            self.warning = "bad deps log signature or version; starting over"
            self._disk.remove(self._path)
            return
        self._is_started = True
        end = len(data) - len(data) % _WORD_BYTES
        words = array("I")
        words.frombytes(memoryview(data)[len(_HEADER) : end])
        good_words = self._load_records(data, words)
        good_bytes = len(_HEADER) + good_words * _WORD_BYTES
        if good_bytes != len(data):
            self.warning = "premature end of file; recovering"
            self._disk.truncate(self._path, good_bytes)

    def _load_records(self, data: bytes, words: array[int]) -> int:
        """Take in all records up to the first bad one; the count of words before that."""
        nodes = self._nodes
        deps = self._deps
        count = len(words)
        position = 0
        while position < count:
            size = words[position]
            size_bytes = size & ~_DEPS_BIT
            begin = position + 1
            end = begin + size_bytes // _WORD_BYTES
            if size_bytes > NINJA_RECORD_BYTES or size_bytes % _WORD_BYTES or end > count:
                break
            if size & _DEPS_BIT:
                numbers = words[begin + _DEPS_PREFIX_WORDS : end]
                if size_bytes < _DEPS_PREFIX_WORDS * _WORD_BYTES or words[begin] >= len(nodes):
                    break
                if numbers and max(numbers) >= len(nodes):
                    break
                mtime_ns = words[begin + 1] | words[begin + 2] << 32
                deps[words[begin]] = Deps(mtime_ns, numbers, nodes)
                self._record_count += 1
            else:
                offset = len(_HEADER) + begin * _WORD_BYTES
                path = data[offset : offset + size_bytes - _WORD_BYTES]
                if not self._load_path(path, words[end - 1]):
                    break
            position = end
        return position

    def _load_path(self, padded: bytes, complement: int) -> bool:
        path = padded
        for _ in range(_WORD_BYTES - 1):
            path = path.removesuffix(b"\0")
        number = len(self._nodes)
        if not path or complement ^ _WORD_MASK != number:
            return False
        node = self._graph.node(path.decode("utf-8", "surrogateescape"))
        if node.log_id >= 0:
            return False
        self._number(node)
        return True

    def _number(self, node: Node) -> None:
        node.log_id = len(self._nodes)
        self._nodes.append(node)
        self._graph.leaf_mtimes_ns.append(-1)

    def deps(self, output: Node) -> Deps | None:
        """What is known about the inputs of an output."""
        return self._deps.get(output.log_id)

    def first_user(self, node: Node) -> Node | None:
        """The first output that has the node among its recorded inputs."""
        for number in sorted(self._deps):
            if node in self._deps[number]:
                return self._nodes[number]
        return None

    def record(self, output: Node, mtime_ns: int, inputs: Sequence[Node]) -> None:
        """Append the inputs of an output, unless they are known already.

        Raises:
            OSError: the log cannot be written.
            ManifestError: a path or the list of inputs is too long for the format.
        """
        numbers = [node.log_id for node in inputs]
        known = self._deps.get(output.log_id)
        if known is None or known.mtime_ns != mtime_ns or list(known.numbers) != numbers:
            self._append(self._encoded(output, mtime_ns, inputs))

    def _encoded(self, output: Node, mtime_ns: int, inputs: Sequence[Node]) -> bytes:
        """The records that say it, paths that have no number yet included."""
        paths = b"".join([self._numbered(node) for node in (output, *inputs) if node.log_id < 0])
        numbers = [node.log_id for node in inputs]
        words = array("I", (output.log_id, mtime_ns & _WORD_MASK, mtime_ns >> 32 & _WORD_MASK, *numbers))
        size_bytes = len(words) * _WORD_BYTES
        if size_bytes > NINJA_RECORD_BYTES:
            raise ManifestError(f"{output.path}: {len(inputs)} inputs are too many for {self._path}")
        self._deps[output.log_id] = Deps(mtime_ns, numbers, self._nodes)
        return paths + (size_bytes | _DEPS_BIT).to_bytes(_WORD_BYTES, sys.byteorder) + words.tobytes()

    def _numbered(self, node: Node) -> bytes:
        """Number a node; its path record."""
        path = node.path.encode("utf-8", "surrogateescape")
        path += b"\0" * (-len(path) % _WORD_BYTES)
        size_bytes = len(path) + _WORD_BYTES
        if size_bytes > NINJA_RECORD_BYTES:
            raise ManifestError(f"{node.path[:100]}...: this path is too long for {self._path}")
        number = len(self._nodes)
        self._number(node)
        return (
            size_bytes.to_bytes(_WORD_BYTES, sys.byteorder)
            + path
            + (number ^ _WORD_MASK).to_bytes(_WORD_BYTES, sys.byteorder)
        )

    def create(self) -> None:
        """Make the file if it is not there yet, as ninja does even when nothing runs.

        Raises:
            OSError: it cannot be written.
        """
        if not self._is_started:
            self._append(b"")

    def _append(self, records: bytes) -> None:
        self._disk.append(self._path, records if self._is_started else _HEADER + records)
        self._is_started = True

    @property
    def is_recompaction_due(self) -> bool:
        """Whether most records are of no use any more."""
        return self._record_count > _MIN_COMPACTION_RECORDS and self._record_count > len(self._deps) * _COMPACTION_RATIO

    def recompact(self) -> None:
        """Rewrite the log with one record for each output that still has an edge with ``deps``.

        Raises:
            OSError: the log cannot be written.
        """
        live = [
            (self._nodes[number], deps.mtime_ns, list(deps))
            for number, deps in sorted(self._deps.items())
            if (edge := self._nodes[number].in_edge) is not None and edge.deps_type
        ]
        for node in self._nodes:
            node.log_id = -1
        self._nodes = []
        self._deps = {}
        self._graph.leaf_mtimes_ns.clear()
        data = _HEADER + b"".join([self._encoded(*record) for record in live])
        temporary = self._path + ".recompact"
        self._disk.write(temporary, data)
        self._disk.replace(temporary, self._path)
        self._record_count = len(live)
        self._is_started = True
