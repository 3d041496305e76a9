"""A hostile client's action on its way to a worker's stage: refused by name, and nothing is made elsewhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.malicious.trees import HOSTILE_PATHS, LYING_DIGESTS, WRONG_TYPES, everything
from tests.unit.storage.stage_driver import BUILD, StageDriver
from zbuild import digest as digests
from zbuild.errors import BadInput, BlobMissing, ZbuildError
from zbuild.limits import ACTION_INPUTS, STAGED_DIRECTORIES
from zbuild.model.action import Action, InputSpec, OutputSpec, decode_action, encode_action
from zbuild.model.capabilities import Capabilities

DATA = b"data"
DIGEST = digests.of_bytes(DATA)
HONEST = Action(
    platform=(),
    sandbox="hermetic",
    capabilities=Capabilities(),
    arguments=("/bin/true",),
    environment=(),
    working_directory=BUILD,
    writable_root=BUILD,
    inputs=(InputSpec("/zb/src/honest", DIGEST),),
    directories=(),
    outputs=(OutputSpec(f"{BUILD}/out"),),
)
INPUTS = Action.__struct_fields__.index("inputs")
FIELDS: list[Any] = msgspec.msgpack.decode(encode_action(HONEST)[1])


class Worker:
    """A stage, and beside it what must not change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "canary").mkdir()
        (directory / "canary" / "file").write_bytes(b"alive")
        self.driver = StageDriver(directory / "worker")
        self.driver.blobs.put_bytes(DATA)
        self.before = everything(directory, self.driver.path)

    def receive(self, **changes: object) -> None:
        """Take an action whose fields, as msgpack knows them, are those of HONEST but for the changes."""
        fields = [changes.get(name, value) for name, value in zip(Action.__struct_fields__, FIELDS, strict=True)]
        action = decode_action(msgpack.packb(fields, unicode_errors="surrogatepass"))
        self.driver.stage.prepare(
            inputs=action.inputs,
            directories=action.directories,
            outputs=action.outputs,
            writable_root=action.writable_root,
            working_directory=action.working_directory,
        )

    def is_untouched(self) -> bool:
        return everything(self.directory, self.driver.path) == self.before


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def entry(path: object, digest: object = tuple(DIGEST), is_executable: object = False) -> list[object]:
    return [path, digest, is_executable]


def changes(role: str, path: object) -> dict[str, object]:
    """An action that names ``path`` in that role."""
    match role:
        case "input":
            return {"inputs": [entry(path)]}
        case "directory":
            return {"directories": [path]}
        case "output":
            return {"outputs": [[path, False]]}
        case _:
            return {role.replace(" ", "_"): path}


def with_timeout(timeout_s: float) -> dict[str, object]:
    """An action that may run so long."""
    fields = list(FIELDS[Action.__struct_fields__.index("capabilities")])
    fields[Capabilities.__struct_fields__.index("timeout_s")] = timeout_s
    return {"capabilities": fields}


TIMEOUT = f"$[{Action.__struct_fields__.index('capabilities')}][{Capabilities.__struct_fields__.index('timeout_s')}]"
ROLES = ("input", "directory", "output", "writable root", "working directory")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", HOSTILE_PATHS)
def test_hostile_path(worker: Worker, name: str, role: str) -> None:
    path = HOSTILE_PATHS[name]
    if (name, role) == ("the root", "working directory"):
        worker.receive(**changes(role, path))
    else:
        with pytest.raises(BadInput) as caught:
            worker.receive(**changes(role, path))
        assert str(caught.value).startswith(role)
        assert repr(path[:200])[:-1] in str(caught.value)
        assert worker.driver.files() == {}
    assert worker.is_untouched()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_path_of_another_type(worker: Worker, name: str, role: str) -> None:
    with pytest.raises(BadInput, match=r"at `\$\[\d+\]"):
        worker.receive(**changes(role, WRONG_TYPES[name]))
    assert worker.is_untouched()


@pytest.mark.parametrize("name", LYING_DIGESTS)
def test_digest_that_is_none(worker: Worker, name: str) -> None:
    with pytest.raises(BadInput, match=rf"at `\$\[{INPUTS}\]\[0\]\[1\]|/zb/src/a"):
        worker.receive(inputs=[entry("/zb/src/a", LYING_DIGESTS[name])])
    assert worker.is_untouched()


@pytest.mark.parametrize("size_bytes", [0, len(DATA) - 1, len(DATA) + 1, 2**62])
def test_digest_with_another_size_than_the_blob(worker: Worker, size_bytes: int) -> None:
    with pytest.raises(BlobMissing, match="/zb/src/a"):
        worker.receive(inputs=[entry("/zb/src/a", [DIGEST.hash, size_bytes])])
    assert worker.is_untouched()


CONTRADICTIONS: dict[str, tuple[dict[str, object], str]] = {
    "an input twice": ({"inputs": [entry("/zb/a"), entry("/zb/a")]}, "'/zb/a': named twice"),
    "an output twice": ({"outputs": [[f"{BUILD}/o", False]] * 2}, f"'{BUILD}/o': named twice"),
    "below a file": ({"inputs": [entry("/zb/a"), entry("/zb/a/b")]}, "'/zb/a': also named as a directory"),
    "above a file": ({"inputs": [entry("/zb/a/b/c"), entry("/zb/a")]}, "'/zb/a': also named as a directory"),
    "a file that is a directory": ({"inputs": [entry("/zb/a")], "directories": ["/zb/a"]}, "'/zb/a': also"),
    "a directory below a file": ({"inputs": [entry("/zb/a")], "directories": ["/zb/a/b"]}, "'/zb/a': also"),
    "an output below an input": (
        {"inputs": [entry(f"{BUILD}/o")], "outputs": [[f"{BUILD}/o/p", False]]},
        f"'{BUILD}/o': also",
    ),
    "the writable root is a file": ({"inputs": [entry(BUILD)]}, f"'{BUILD}': also"),
    "the working directory is a file": (
        {"inputs": [entry("/zb/a")], "working_directory": "/zb/a"},
        "'/zb/a': also named",
    ),
    "/tmp is a file": ({"inputs": [entry("/tmp")]}, "'/tmp': also named"),
    "an output beside the writable root": ({"outputs": [["/zb/src/o", False]]}, "'/zb/src/o': not below"),
    "an output that is the writable root": ({"outputs": [[BUILD, False]]}, "not below the writable root"),
    "an output in a sibling": ({"outputs": [[f"{BUILD}2/o", False]]}, f"'{BUILD}2/o': not below"),
    "too many inputs": ({"inputs": [entry(f"/zb/{n}") for n in range(ACTION_INPUTS + 1)]}, str(ACTION_INPUTS)),
    "a million entries": ({"directories": [f"/zb/{n}" for n in range(1_000_000)]}, f"than {STAGED_DIRECTORIES}"),
    "a million in depth": (
        {"directories": [f"/zb/{n}" + "/d" * 1400 for n in range(800)]},
        f"than {STAGED_DIRECTORIES}",
    ),
    "text that is none": ({"inputs": [entry("/zb/\ud800")]}, "decode"),
    "no arguments": ({"arguments": []}, "without arguments"),
    "an empty program": ({"arguments": ["", "a"]}, "an empty program"),
    "a NUL in an argument": ({"arguments": ["/bin/sh", "-c", "a\0b"]}, "argument 2 contains a NUL: 'a\\x00b'"),
    "a NUL in a variable": ({"environment": [["A", "b\0c"]]}, "variable 'A'"),
    "a variable without a name": ({"environment": [["", "b"]]}, "variable ''"),
    "a variable with an assignment": ({"environment": [["A=B", "c"]]}, "variable 'A=B'"),
    "no time": (with_timeout(0.0), TIMEOUT),
    "time that is no number": (with_timeout(math.nan), TIMEOUT),
    "endless time": (with_timeout(math.inf), TIMEOUT),
    "time before now": (with_timeout(-1.0), TIMEOUT),
    "more time than timers have": (with_timeout(1e300), TIMEOUT),
    "an executable that is text": ({"inputs": [entry("/zb/a", tuple(DIGEST), "yes")]}, f"$[{INPUTS}][0][2]"),
    "an input that is a path": ({"inputs": ["/zb/a"]}, f"$[{INPUTS}][0]"),
    "another format": ({"format": "zbuild-action-0"}, "'zbuild-action-0'"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction(worker: Worker, name: str) -> None:
    changed, named = CONTRADICTIONS[name]
    with pytest.raises(BadInput) as caught:
        worker.receive(**changed)
    assert named in str(caught.value)
    assert worker.driver.files() == {}
    assert worker.is_untouched()


def test_nesting_without_end(worker: Worker) -> None:
    with pytest.raises(BadInput, match="decode an action of"):
        decode_action(b"\x91" * 200_000)
    assert worker.is_untouched()


@pytest.mark.parametrize(
    "names", [("a", "A"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301"), ("..a", "a.."), (" ", "\n")]
)
def test_names_that_are_alike_are_different_files(worker: Worker, names: tuple[str, str]) -> None:
    worker.receive(inputs=[entry(f"/zb/src/{name}") for name in names])
    assert worker.driver.files() == {f"/zb/src/{name}": DATA for name in names}
    assert worker.is_untouched()


COMPONENTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "canary", "\0", "x" * 256, "zb", "src", "zb-build", "~", "etc"]),
    st.text(max_size=4),
)
PATHS = st.builds(
    lambda top, parts: top + "/".join(parts),
    st.sampled_from(["", "/", "/zb/src/", BUILD + "/", "//", "/tmp/"]),
    st.lists(COMPONENTS, max_size=8),
)
ENTRIES = st.one_of(
    PATHS.map(entry),
    st.tuples(PATHS, st.sampled_from(list(LYING_DIGESTS.values())), st.booleans()).map(list),
    st.sampled_from([entry(path) for path in WRONG_TYPES.values()]),
)


@pytest.mark.timeout(300)
@settings(max_examples=2000)
@given(
    st.lists(ENTRIES, max_size=4),
    st.lists(PATHS, max_size=3),
    st.lists(PATHS.map(lambda path: [path, False]), max_size=2),
    st.one_of(st.just(BUILD), PATHS),
    st.one_of(st.just(BUILD), PATHS),
)
def test_generated(
    tmp_path_factory: pytest.TempPathFactory,
    inputs: list[object],
    directories: list[str],
    outputs: list[object],
    writable_root: str,
    working_directory: str,
) -> None:
    worker = _shared(tmp_path_factory)
    try:
        worker.receive(
            inputs=inputs,
            directories=directories,
            outputs=outputs,
            writable_root=writable_root,
            working_directory=working_directory,
        )
    except ZbuildError as error:
        assert isinstance(error, BadInput | BlobMissing)
    assert worker.is_untouched()


_WORKERS: list[Worker] = []


def _shared(factory: pytest.TempPathFactory) -> Worker:
    """One for all examples: a stage that has been used by a thousand actions is the better test."""
    if not _WORKERS:
        _WORKERS.append(Worker(factory.mktemp("generated")))
    return _WORKERS[0]
