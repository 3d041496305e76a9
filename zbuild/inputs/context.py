"""What the analyses of one build share: the roots, the toolchain, and everything that was found before."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping

from zbuild.inputs.environment import action_environment, canonical_environment, path_list, program_directories
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.include_scan import IncludeScanner
from zbuild.inputs.roots import Roots
from zbuild.inputs.source_facts import SourceFactsStore
from zbuild.inputs.source_tree import Disk, Filesystem, SourceTree
from zbuild.inputs.toolchain import Toolchain

OBJECT_MAGICS = (b"\x7fELF", b"!<ar", b"!<th")
_OBJECT_SUFFIXES = (".o", ".a", ".so", ".obj", ".lo", ".lib")


class AnalysisContext:
    """``environment``: the user's, kept as ``whole_environment``. ``facts_path``: of scanned headers; None: none."""

    def __init__(
        self,
        roots: Roots,
        toolchain: Toolchain,
        digests: FileDigests,
        environment: Mapping[str, str],
        facts_path: str | None = None,
        filesystem: Filesystem | None = None,
    ) -> None:
        self.roots = roots
        self.toolchain = toolchain
        self.digests = digests
        self.tree = SourceTree(filesystem or Disk(digests))
        self.whole_environment = environment
        self.user_environment = action_environment(environment, roots)
        self.environment = canonical_environment(self.user_environment, roots)
        self.program_directories = program_directories(environment, roots)
        self.include_path = {
            name: tuple(path_list(environment, name, roots))
            for name in (
                "CPATH",
                "C_INCLUDE_PATH",
                "CPLUS_INCLUDE_PATH",
                "LIBRARY_PATH",
                "LD_LIBRARY_PATH",
                "PYTHONPATH",
            )
        }
        self._facts = SourceFactsStore(facts_path)
        self.scanner = IncludeScanner(self.tree, self._facts, roots.is_system)
        self._programs: dict[str, str] = {}
        self._real_programs: dict[str, str] = {}
        self._are_objects: dict[str, bool] = {}

    def respelled(self, roots: Roots) -> AnalysisContext:
        """The same directories under other canonical names. All that was found on disk is shared, both ways."""
        other = copy.copy(self)
        other.roots = roots
        other.environment = canonical_environment(self.user_environment, roots)
        return other

    def invalidate(self, path: str) -> None:
        """Must be told of every file that an edge has made, before the next analysis. ``path``: absolute user path."""
        self.scanner.invalidate(path)
        self._are_objects.pop(path, None)
        self._real_programs.pop(path, None)

    def save(self) -> None:
        """Raises OSError when the disk refuses."""
        self._facts.save()

    def find_program(self, name: str) -> str | None:
        """Along PATH. What is found stays found for the build; what is not may still be made by it."""
        found = self._programs.get(name)
        if found is None:
            import shutil

            found = shutil.which(name, path=":".join(self.program_directories))
            if found is not None:
                self._programs[name] = found
        return found

    def real_program(self, path: str) -> str:
        """Without symbolic links, as it was at the first look or when the build had made it."""
        found = self._real_programs.get(path)
        if found is None:
            found = self._real_programs[path] = os.path.realpath(path)
        return found

    def is_object(self, path: str) -> bool:
        """Whether a file is an object, a library or a program: nothing that a compile reads unless its flags say so."""
        if path.endswith(_OBJECT_SUFFIXES) or ".so." in path:
            return True
        name = path.rpartition("/")[2]
        if "." in name:
            return False
        known = self._are_objects.get(path)
        if known is None:
            with open(path, "rb") as stream:
                known = self._are_objects[path] = stream.read(4) in OBJECT_MAGICS
        return known
