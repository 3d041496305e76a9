"""A stage with its blobs, and a short way of saying what an action asks of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from zbuild.model.action import InputSpec, OutputSpec
from zbuild.sandbox.spec import RESERVED_PATHS, SHARED_PATHS
from zbuild.storage.blob_directory import BlobDirectory
from zbuild.storage.staging import Stage, StagePlan

BUILD = "/zb/src/zb-build"


class StageDriver:
    """One stage on its own blobs."""

    def __init__(self, directory: Path, *, is_isolated: bool = True) -> None:
        self.blobs = BlobDirectory(directory / "blobs", is_durable=False)
        self.path = directory / "stage"
        self.stage = Stage(
            self.path, self.blobs, reserved_paths=RESERVED_PATHS, shared_paths=SHARED_PATHS, is_isolated=is_isolated
        )

    def input(self, path: str, data: bytes, executable: bool = False) -> InputSpec:
        return InputSpec(path, self.blobs.put_bytes(data), executable)

    def prepare(
        self,
        files: Mapping[str, bytes],
        *,
        directories: Iterable[str] = (),
        outputs: Iterable[str] = (),
        writable_root: str = BUILD,
        working_directory: str = BUILD,
    ) -> StagePlan:
        """Stage plain files; every output is required."""
        return self.stage.prepare(
            inputs=[self.input(path, data) for path, data in files.items()],
            directories=tuple(directories),
            outputs=[OutputSpec(path) for path in outputs],
            writable_root=writable_root,
            working_directory=working_directory,
        )

    def files(self) -> dict[str, bytes]:
        """Canonical path to contents of every file of the tree."""
        root = str(self.path / "root")
        return {
            os.path.join(parent, name)[len(root) :]: Path(parent, name).read_bytes()
            for parent, _, names in os.walk(root)
            for name in names
        }

    def directories(self) -> set[str]:
        root = str(self.path / "root")
        return {os.path.join(parent, name)[len(root) :] for parent, names, _ in os.walk(root) for name in names}

    def blobs_on_disk(self) -> list[Path]:
        """The files of all blobs, whoever knows of them."""
        return list(Path(self.blobs.path).glob("[0-9a-f][0-9a-f]/*"))
