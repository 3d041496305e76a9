"""What an action may do, and what a worker lets any action do at most: the seed's ``Capabilities``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from zbuild.errors import BadInput
from zbuild.limits import ACTION_TIMEOUT_S, CAPABILITY_PATHS, LINUX_PATH_BYTES, LONGEST_TIMEOUT_S, MIB, PROCESSORS

_Paths = Annotated[tuple[str, ...], msgspec.Meta(max_length=CAPABILITY_PATHS)]


class Capabilities(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Asked for by an action, of which it is a part; granted by a worker, as a ceiling.

    Attributes:
        network: the worker's own network. Without it there is none but an empty loopback.
        write_home: a home directory that can be written, private and empty at first.
        write_tmp: a /tmp that can be written, private and empty at first.
        read_paths: files and directories of the worker that are visible, sorted.
        write_paths: directories of the worker that are visible and can be written, sorted.
        max_cpu: processors. 0 asks for no number and gets what is granted; as a ceiling, all there are.
        max_memory_bytes: memory of all processes together. 0 asks for no size; as a ceiling, it sets no bound.
        timeout_s: wall-clock bound.

    Raises:
        ValueError: a path is not absolute, not normal, or too long.
    """

    network: bool = False
    write_home: bool = False
    write_tmp: bool = True
    read_paths: _Paths = ()
    write_paths: _Paths = ()
    max_cpu: Annotated[int, msgspec.Meta(ge=0, le=PROCESSORS)] = 0
    max_memory_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_TIMEOUT_S)] = ACTION_TIMEOUT_S

    def __post_init__(self) -> None:
        for path in (*self.read_paths, *self.write_paths):
            if not _is_normal(path):
                raise ValueError(f"not an absolute, normal path: {path[:80]!r}")

    @property
    def is_sealed(self) -> bool:
        """Whether the action sees nothing that its key does not cover, so that its result may serve others."""
        return not (self.network or self.read_paths or self.write_paths)

    def beyond(self, ceiling: Capabilities) -> list[str]:
        """What is asked for and not granted, each as ``name=value (it grants other)``; empty when all is granted."""
        found = [
            f"{name}=true (it grants false)"
            for name in ("network", "write_home", "write_tmp")
            if getattr(self, name) and not getattr(ceiling, name)
        ]
        found += _ungranted("read_paths", self.read_paths, ceiling.read_paths, ceiling.write_paths)
        found += _ungranted("write_paths", self.write_paths, (), ceiling.write_paths)
        if 0 < ceiling.max_cpu < self.max_cpu:
            found.append(f"max_cpu={self.max_cpu} (it grants {ceiling.max_cpu})")
        if 0 < ceiling.max_memory_bytes < self.max_memory_bytes:
            asked, granted = self.max_memory_bytes, ceiling.max_memory_bytes
            found.append(f"max_memory={asked / MIB:g} MiB (it grants {granted / MIB:g} MiB)")
        if self.timeout_s > ceiling.timeout_s:
            found.append(f"timeout={self.timeout_s:g} s (it grants {ceiling.timeout_s:g} s)")
        return found

    def strayed(self, real_path: Callable[[str], str], ceiling: Capabilities) -> list[str]:
        """Paths that are granted by name and lead by symlinks to where nothing is: ``/opt/x (it leads to /etc)``.

        Args:
            real_path: os.path.realpath, on the machine of the ceiling.
        """
        if self.is_sealed:
            return []
        readable, writable = (tuple(map(real_path, paths)) for paths in (ceiling.read_paths, ceiling.write_paths))
        targets = {path: real_path(path) for path in (*self.read_paths, *self.write_paths)}
        strayed = [path for path in self.read_paths if not _is_granted(targets[path], readable, writable)]
        strayed += [path for path in self.write_paths if not _is_granted(targets[path], (), writable)]
        return [f"{path} (it leads to {targets[path]})" for path in strayed]

    def under(self, ceiling: Capabilities) -> Capabilities:
        """These, with the ceiling's bounds where none was asked for."""
        return msgspec.structs.replace(
            self,
            max_cpu=self.max_cpu or ceiling.max_cpu,
            max_memory_bytes=self.max_memory_bytes or ceiling.max_memory_bytes,
        )


DEFAULT = Capabilities()
"""What an action asks for that names nothing."""


def capabilities_of(values: Mapping[str, object]) -> Capabilities:
    """The capabilities with these values by field name, and the defaults for the rest.

    Raises:
        BadInput: a value has the wrong type or is out of range, or a path is not absolute.
    """
    fields = msgspec.structs.fields(Capabilities)
    try:
        return msgspec.convert([values.get(field.name, field.default) for field in fields], Capabilities)
    except msgspec.ValidationError as error:
        raise BadInput(f"capabilities {dict(values)}: {error}") from error


def _ungranted(name: str, asked: tuple[str, ...], readable: tuple[str, ...], writable: tuple[str, ...]) -> list[str]:
    granted = ", ".join((*readable, *writable)) or "none"
    return [f"{name}={path} (it grants {granted})" for path in asked if not _is_granted(path, readable, writable)]


def _is_granted(path: str, readable: tuple[str, ...], writable: tuple[str, ...]) -> bool:
    """What is at or below a readable path, and a writable path as a whole.

    Below a writable one an action can have left a symlink, and a mount would follow that to any place of the worker.
    """
    if any(path != each and _is_at_or_below(path, each) for each in writable):
        return False
    return path in writable or any(_is_at_or_below(path, each) for each in readable)


def _is_at_or_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _is_normal(path: str) -> bool:
    parts = path.split("/")[1:]
    is_plain = path == "/" or not any(part in ("", ".", "..") for part in parts)
    size = len(path.encode(errors="replace"))
    return path.startswith("/") and is_plain and "\0" not in path and size <= LINUX_PATH_BYTES
