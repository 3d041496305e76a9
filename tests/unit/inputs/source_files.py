"""A Filesystem in memory: tests of the scan need no disk."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict, Unpack

from zbuild.inputs.include_scan import IncludeScanner, ScanRequest, ScanResult
from zbuild.inputs.include_search import IncludeDirectories
from zbuild.inputs.paths import is_system
from zbuild.inputs.source_facts import SourceFactsStore
from zbuild.inputs.source_tree import Listing, SourceTree


class FileSystemInMemory:
    """``files``: absolute path -> content. Directories exist if a file is below them, or in ``directories``."""

    def __init__(self, files: dict[str, str], directories: tuple[str, ...] = ()) -> None:
        self.files = files
        self.directories = directories
        self.reads: Counter[str] = Counter()

    def list(self, directory: str) -> Listing | None:
        below = directory.rstrip("/") + "/"
        paths = (*self.files, *(f"{each}/" for each in self.directories))
        inside = [path[len(below) :] for path in paths if path.startswith(below)]
        if not inside and directory not in self.directories:
            return None
        directories = {name.split("/")[0] for name in inside if "/" in name and name != "/"}
        files = {name for name in inside if name and "/" not in name}
        return Listing(files, directories - {""}, (1, hash(directory)))

    def read(self, path: str) -> bytes:
        self.reads[path] += 1
        return self.files[path].encode()

    def content_hash(self, path: str) -> bytes:
        return self.files[path].encode()


class Flags(TypedDict, total=False):
    """-I, -iquote, -isystem, the compiler's own, -idirafter, -include and --embed-dir."""

    include: tuple[str, ...]
    quote: tuple[str, ...]
    system: tuple[str, ...]
    builtin: tuple[str, ...]
    after: tuple[str, ...]
    forced: tuple[str, ...]
    embed: tuple[str, ...]


class Project:
    """A scanner over files in memory; ``/p`` is the working directory."""

    def __init__(self, files: dict[str, str], directories: tuple[str, ...] = ()) -> None:
        self.disk = FileSystemInMemory(files, directories)
        self.store = SourceFactsStore()
        self.scanner = IncludeScanner(SourceTree(self.disk), self.store, is_system)

    def scan(self, *sources: str, defines: dict[str, str] | None = None, **flags: Unpack[Flags]) -> ScanResult:
        directories = IncludeDirectories(
            flags.get("quote", ()),
            flags.get("include", ()),
            flags.get("system", ()),
            flags.get("builtin", ()),
            flags.get("after", ()),
        )
        request = ScanRequest(
            sources or ("/p/a.c",), "/p", directories, flags.get("forced", ()), defines or {}, flags.get("embed", ())
        )
        return self.scanner.scan(request)

    def files(self, *sources: str, **flags: Unpack[Flags]) -> set[str]:
        """What is found beside the sources themselves."""
        return set(self.scan(*sources, **flags).files) - set(sources or ("/p/a.c",))

    def make(self, path: str, content: str) -> None:
        """An edge makes a file."""
        self.disk.files[path] = content
        self.scanner.invalidate(path)
