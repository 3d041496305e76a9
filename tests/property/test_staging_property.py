"""Any sequence of actions: a re-used stage equals a fresh one, and nothing appears outside of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.storage.stage_driver import BUILD, StageDriver
from zbuild.errors import BadInput
from zbuild.model.action import InputSpec, OutputSpec
from zbuild.model.source_date import SOURCE_DATE_NS
from zbuild.storage.staged_paths import check_path

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.builds(
    lambda top, names: "/".join([top, *names]),
    st.sampled_from(["/zb/src", BUILD, "/tmp", "/home"]),
    st.lists(NAMES, min_size=1, max_size=3),
)
CONTENTS = st.sampled_from([b"", b"1", b"22"])
LEAVINGS = st.lists(st.tuples(st.sampled_from(["file", "directory", "link", "chmod"]), NAMES, NAMES), max_size=5)

ACTIONS = st.tuples(
    st.dictionaries(PATHS, CONTENTS, max_size=8),
    st.lists(PATHS, max_size=2),
    st.lists(PATHS.map(lambda path: BUILD + "/o" + path), max_size=2, unique=True),
    st.sampled_from([BUILD, BUILD, "/zb/src", "/zb/src/a", "/out"]),
    LEAVINGS,
)


def leave(build: Path, leavings: list[tuple[str, str, str]]) -> None:
    """Play an action that does as it likes in its writable root."""
    for kind, first, second in leavings:
        path = build / first
        with contextlib.suppress(OSError):
            match kind:
                case "file":
                    path.write_bytes(b"left")
                case "directory":
                    (path / second).mkdir(parents=True)
                case "link":
                    path.symlink_to("/")
                case "chmod":
                    os.chmod(path, 0o500, follow_symlinks=True) if not path.is_symlink() else None


@settings(max_examples=60)
@given(st.lists(ACTIONS, min_size=1, max_size=6))
def test_reused_stage_equals_the_action(
    actions: list[tuple[dict[str, bytes], list[str], list[str], str, list[tuple[str, str, str]]]],
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        driver = StageDriver(Path(temporary))
        for files, directories, outputs, writable_root, leavings in actions:
            before = (driver.files(), driver.directories())
            try:
                plan = driver.prepare(
                    files,
                    directories=directories,
                    outputs=outputs if writable_root == BUILD else [],
                    writable_root=writable_root,
                    working_directory="/zb",
                )
            except BadInput:
                assert (driver.files(), driver.directories()) == before
                continue
            assert driver.files() == files
            wanted = {*directories, "/zb", writable_root, *map(os.path.dirname, files)}
            if writable_root == BUILD:
                wanted |= set(map(os.path.dirname, outputs))
            times = {os.stat(plan.location(path)).st_mtime_ns for path in (*driver.files(), *wanted)}
            assert times == {SOURCE_DATE_NS}
            assert driver.directories() == {
                parent for path in wanted for parent in (path, *map(str, Path(path).parents)) if parent != "/"
            }
            for path, data in files.items():
                blob = driver.blobs.path_of(driver.input(path, data).digest)
                is_writable = path.startswith(writable_root + "/")
                assert os.path.samefile(plan.location(path), blob) is not is_writable
                covered = any(path == top or path.startswith(top + "/") for top in plan.read_only_paths)
                assert covered or is_writable
            assert "/tmp" not in plan.read_only_paths
            leave(Path(plan.location(writable_root)), leavings)


COMPONENTS = st.one_of(st.sampled_from(["..", ".", "", "a", "\0", "~", "canary", "x" * 300]), st.text(max_size=5))
HOSTILE = st.builds(
    lambda prefix, parts: prefix + "/".join(parts),
    st.sampled_from(["", "/", "/zb/", BUILD + "/", "//"]),
    st.lists(COMPONENTS, max_size=12),
)


@settings(max_examples=300)
@given(st.lists(HOSTILE, max_size=3), st.lists(HOSTILE, max_size=3), st.lists(HOSTILE, max_size=2), HOSTILE, HOSTILE)
def test_hostile_paths_create_nothing_outside_the_stage(
    files: list[str], directories: list[str], outputs: list[str], writable_root: str, working_directory: str
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        driver = StageDriver(Path(temporary, "inside"))
        entry = driver.input("/unused", b"data")
        outside = _everything(temporary, driver.path)
        with contextlib.suppress(BadInput):
            driver.stage.prepare(
                inputs=[InputSpec(path, entry.digest) for path in files],
                directories=directories,
                outputs=[OutputSpec(path) for path in outputs],
                writable_root=writable_root,
                working_directory=working_directory,
            )
        assert _everything(temporary, driver.path) == outside


def _everything(directory: str, excepted: Path) -> set[str]:
    return {
        os.path.join(parent, name)
        for parent, directories, names in os.walk(directory)
        for name in (*directories, *names)
        if not Path(parent, name).is_relative_to(excepted)
    }


@given(HOSTILE)
def test_accepted_paths_are_their_own_normal_form(path: str) -> None:
    with contextlib.suppress(BadInput):
        check_path(path, "input")
        assert os.path.normpath(path) == path
        assert path.startswith("/")
        assert path != "/"
        assert "\0" not in path
