"""A hostile worker's result on its way into the build directory: refused by name, and nothing is written elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.malicious.trees import HOSTILE_PATHS, LYING_DIGESTS, WRONG_TYPES, everything
from tests.unit.inputs.build_tree import BuildTree
from zbuild.client.output_file import PARTIAL_SUFFIX
from zbuild.client.result_files import ResultFiles
from zbuild.digest import EMPTY, Digest, of_bytes
from zbuild.errors import BadInput, BlobCorrupt, OutputMissing, StoreFailed, ZbuildError
from zbuild.model.action import ActionResult, OutputKind, ResultStatus, decode_result, encode_result

DATA = b"/zb/src/zb-build/out: whatever the worker says\n"
DIGEST = of_bytes(DATA)
CANONICAL = "/zb/src/zb-build"
FIELDS: list[Any] = msgspec.msgpack.decode(encode_result(ActionResult(status=ResultStatus.SUCCESS)))
FILE, SYMLINK = int(OutputKind.FILE), int(OutputKind.SYMLINK)


class Client:
    """A build directory, and beside it what must not change: the sources and a home."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.home.mkdir()
        (self.home / ".profile").write_bytes(b"alive")
        self.tree = BuildTree(directory)
        self.tree.write("a.txt", "a")
        self.before = everything(directory, self.tree.build)

    def receive(self, outputs: list[object], depfile: str = "", declared: tuple[str, ...] = ("out",)) -> None:
        """Take the result of a command that makes ``declared``, each a file or a directory; all blobs are DATA."""
        fields = [
            outputs if name == "outputs" else value
            for name, value in zip(ActionResult.__struct_fields__, FIELDS, strict=True)
        ]
        result = decode_result(msgpack.packb(fields, unicode_errors="surrogatepass"))
        analysis = self.tree.remote("cp ../a.txt out", *declared)
        files = ResultFiles()
        try:
            for _, sink in files.open(result, depfile, False, analysis, self.tree.context):
                sink.write(DATA)
                sink.commit()
            files.publish()
        except ZbuildError:
            files.discard()
            raise

    def is_untouched(self) -> bool:
        return everything(self.directory, self.tree.build) == self.before

    def partial_files(self) -> list[str]:
        return [name for _, _, names in os.walk(self.tree.build) for name in names if name.endswith(PARTIAL_SUFFIX)]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def file(path: object, digest: object = tuple(DIGEST)) -> list[object]:
    return [path, FILE, digest, False, ""]


def link(path: object, target: object) -> list[object]:
    return [path, SYMLINK, tuple(EMPTY), False, target]


OUT = f"{CANONICAL}/out"


@pytest.mark.parametrize("kind", ["file", "symlink"])
@pytest.mark.parametrize("name", HOSTILE_PATHS)
def test_hostile_path(client: Client, name: str, kind: str) -> None:
    path = HOSTILE_PATHS[name]
    with pytest.raises(BadInput) as caught:
        client.receive([file(OUT), file(path) if kind == "file" else link(path, "a")])
    assert path[:30] in str(caught.value) or repr(path[:200])[:-1] in str(caught.value)
    assert client.is_untouched()
    assert list(client.tree.build.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "symlink", "target"])
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_path_of_another_type(client: Client, name: str, kind: str) -> None:
    value = WRONG_TYPES[name]
    bad = {"file": file(value), "symlink": link(value, "a"), "target": link(OUT, value)}[kind]
    with pytest.raises(BadInput, match=r"at `\$\[2\]\[0\]"):
        client.receive([bad])
    assert client.is_untouched()


@pytest.mark.parametrize("name", LYING_DIGESTS)
def test_digest_that_is_none(client: Client, name: str) -> None:
    with pytest.raises((BadInput, BlobCorrupt), match=r"at `\$\[2\]\[0\]\[2\]|/out"):
        client.receive([file(OUT, LYING_DIGESTS[name])])
    assert client.is_untouched()
    assert list(client.tree.build.iterdir()) == []


def test_digest_of_other_bytes(client: Client) -> None:
    with pytest.raises(BlobCorrupt, match="/out"):
        client.receive([file(OUT, tuple(Digest(b"\1" * 32, len(DATA))))])
    assert list(client.tree.build.iterdir()) == []


CONTRADICTIONS: dict[str, tuple[list[object], str]] = {
    "a file twice": ([file(OUT), file(OUT)], f"'{OUT}': named twice"),
    "a file and a symlink": ([file(OUT), link(OUT, "/")], f"'{OUT}': named twice"),
    "below a file": ([file(OUT), file(f"{OUT}/x")], f"'{OUT}/x': below '{OUT}'"),
    "below a symlink": ([link(OUT, "/"), file(f"{OUT}/x")], f"'{OUT}/x': below '{OUT}'"),
    "a symlink below a symlink": ([link(f"{OUT}/a", "/"), link(f"{OUT}/a/b", "/")], f"'{OUT}/a/b': below"),
    "far below a symlink": ([link(f"{OUT}/a", "/"), file(f"{OUT}/a/b/c/d")], f"'{OUT}/a/b/c/d': below '{OUT}/a'"),
    "a name that is being written": ([file(OUT), file(f"{OUT}{PARTIAL_SUFFIX}")], PARTIAL_SUFFIX),
    "not asked for": ([file(OUT), file(f"{CANONICAL}/other")], "not asked for"),
    "a source": ([file(OUT), file("/zb/src/a.txt")], "not asked for"),
    "a home": ([file(OUT), file("/home/u/.profile")], "not asked for"),
    "a sibling of what was asked for": ([file(f"{OUT}2")], "not asked for"),
    "the build directory": ([link(CANONICAL, "/")], "not asked for"),
    "a NUL in a target": ([link(OUT, "a\0b")], f"'{OUT}'"),
    "a device": ([[OUT, 2, tuple(DIGEST), False, ""]], "$[2][0][1]"),
    "a FIFO": ([[OUT, 3, tuple(DIGEST), False, ""]], "$[2][0][1]"),
    "a socket": ([[OUT, -1, tuple(DIGEST), False, ""]], "$[2][0][1]"),
    "a mode of set-user-id": ([[OUT, FILE, tuple(DIGEST), 0o4755, ""]], "$[2][0][3]"),
    "text that is none": ([file("/zb/\ud800")], "decode"),
    "an output that is a path": ([OUT], "$[2][0]"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction(client: Client, name: str) -> None:
    outputs, named = CONTRADICTIONS[name]
    with pytest.raises(BadInput) as caught:
        client.receive(outputs)
    assert named in str(caught.value)
    assert client.is_untouched()
    assert list(client.tree.build.iterdir()) == []


@pytest.mark.parametrize("target", ["", "x" * 5000])
def test_target_that_no_symlink_can_have(client: Client, target: str) -> None:
    with pytest.raises(StoreFailed, match=r"cannot make the symlink .*/out"):
        client.receive([link(OUT, target)])
    assert client.is_untouched()


def test_nothing_of_what_was_asked_for(client: Client) -> None:
    with pytest.raises(OutputMissing, match=OUT):
        client.receive([])


def test_declared_directory_that_an_earlier_result_made_a_symlink(client: Client) -> None:
    """The first is what a project may want. The second would land where the first one leads."""
    client.receive([link(OUT, str(client.home))])
    with pytest.raises(OutputMissing, match=r"symlink here"):
        client.receive([file(f"{OUT}/.profile")])
    with pytest.raises(OutputMissing, match=r"symlink here|/out leads out of the build directory, to .*/home"):
        client.receive([file(f"{OUT}/.profile")], declared=("out/.profile",))
    assert client.is_untouched()


def test_declared_directory_whose_parent_an_earlier_result_made_a_symlink(client: Client) -> None:
    client.receive([link(f"{OUT}/a", "../../../home")])
    with pytest.raises(OutputMissing, match=r"symlink here|out/a leads out of the build directory, to .*/home"):
        client.receive([file(f"{OUT}/a/.profile")], declared=("out/a/.profile",))
    assert client.is_untouched()


def test_symlinks_within_the_build_directory_stay_usable(client: Client) -> None:
    (client.tree.build / "real").mkdir()
    (client.tree.build / "out").symlink_to("real")
    client.receive([file(f"{OUT}/x")], declared=("out/x",))
    assert (client.tree.build / "real/x").read_bytes() == DATA


def test_depfile_that_an_earlier_result_made_a_symlink(client: Client) -> None:
    """It was opened for writing under its name, so that a worker could write wherever the user can."""
    client.receive([link(OUT, str(client.home / ".profile"))], depfile=OUT)
    client.receive([file(OUT)], depfile=OUT)
    assert client.is_untouched()
    assert not (client.tree.build / "out").is_symlink()


def test_partial_file_that_a_command_here_made_a_symlink(client: Client) -> None:
    (client.tree.build / f"out{PARTIAL_SUFFIX}").symlink_to(client.home / ".profile")
    with pytest.raises(StoreFailed, match=r"cannot write .*/out: Too many levels of symbolic links"):
        client.receive([file(OUT)])
    assert client.is_untouched()


COMPONENTS = st.one_of(
    st.sampled_from(["..", ".", "", "a", "b", "out", "\0", "x" * 256, "home", ".profile", f"a{PARTIAL_SUFFIX}"]),
    st.text(max_size=4),
)
PATHS = st.builds(
    lambda top, parts: top + "/".join(parts),
    st.sampled_from(["", "/", CANONICAL + "/", OUT + "/", OUT + "/", OUT, "/zb/src/"]),
    st.lists(COMPONENTS, max_size=5),
)
TARGETS = st.one_of(PATHS, st.sampled_from(["/", "..", "../..", "../../../home", "a", ""]))
OUTPUTS = st.one_of(
    PATHS.map(file),
    st.tuples(PATHS, TARGETS).map(lambda pair: link(*pair)),
    st.tuples(PATHS, st.sampled_from(list(LYING_DIGESTS.values()))).map(lambda pair: file(*pair)),
)


@pytest.mark.timeout(300)
@settings(max_examples=2000)
@given(st.lists(OUTPUTS, max_size=4), st.sampled_from([("out",), ("out/a",), ("out/a/b",)]), st.booleans())
def test_generated(
    tmp_path_factory: pytest.TempPathFactory, outputs: list[object], declared: tuple[str, ...], has_depfile: bool
) -> None:
    client = _shared(tmp_path_factory)
    try:
        client.receive(outputs, depfile=OUT if has_depfile else "", declared=declared)
    except ZbuildError as error:
        assert isinstance(error, BadInput | BlobCorrupt | OutputMissing | StoreFailed)
    assert client.is_untouched()
    assert client.partial_files() == []


_CLIENTS: list[Client] = []


def _shared(factory: pytest.TempPathFactory) -> Client:
    """One for all examples, so that a result finds the symlinks of those before it."""
    if not _CLIENTS:
        _CLIENTS.append(Client(factory.mktemp("generated")))
    return _CLIENTS[0]
