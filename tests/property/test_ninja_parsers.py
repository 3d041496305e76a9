"""Arbitrary input to the readers of ninja's files: an error of ours, or a result that holds together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ninja.driver import MemoryDisk, prepare
from zbuild.errors import ManifestError
from zbuild.ninja import manifest
from zbuild.ninja.build_log import BuildLog
from zbuild.ninja.command_hash import command_hash, command_hashes
from zbuild.ninja.depfile import parse_depfile
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.dyndep import load_dyndep
from zbuild.ninja.graph import Graph
from zbuild.ninja.lexer import Lexer
from zbuild.ninja.manifest import load_manifest
from zbuild.ninja.path import canonicalize, shell_quoted
from zbuild.ninja.scope import Scope
from zbuild.ninja.show_includes import parse_show_includes
from zbuild.ninja.target import nearest_path

_FRAGMENTS = (
    "build ",
    "build a: cat b\n",
    "rule cat\n  command = cat $in > $out\n",
    "rule x\n",
    "  command = ",
    "pool p\n  depth = 1\n",
    "  pool = p\n",
    "  dyndep = dd\n",
    "default ",
    "include inc\n",
    "subninja build.ninja\n",
    "a",
    "b",
    "c d",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\r",
    "\t",
    ":",
    ": cat ",
    ": phony ",
    "|",
    "||",
    "|@",
    "=",
    "x = 1\n",
    "  x = $y\n",
    "  y = 2\n",
    "$",
    "$$",
    "$\n",
    "$x",
    "${x}",
    "${",
    "$:",
    "#",
    "# comment\n",
    "  # comment\n",
    "\0",
    "ä",
    "../",
    "./",
    "/",
    ".",
    "ninja_required_version = 1.3\n",
    "ninja_dyndep_version = 1\n",
    "build a: dyndep | b\n",
)
_TEXTS = st.lists(st.sampled_from(_FRAGMENTS), max_size=25).map("".join)
_BYTES = st.one_of(st.binary(max_size=300), _TEXTS.map(lambda text: text.encode()))


def _ignore(warning: str) -> None:
    """Warnings are not the subject here."""


def _describe(graph: Graph) -> list[object]:
    """All that a manifest says, in a form to compare."""
    described: list[object] = [sorted(graph.nodes), [node.path for node in graph.defaults], sorted(graph.pools)]
    for edge in graph.edges:
        described.append(
            (
                edge.rule.name,
                [[node.path for node in nodes] for nodes in (edge.outputs, edge.inputs, edge.validations)],
                (edge.implicit_output_count, edge.implicit_count, edge.order_only_count),
                (edge.own_bindings, edge.pool.name, edge.dyndep and edge.dyndep.path),
                [sorted(user.number for user in node.out_edges) for node in edge.inputs],
                edge.is_phony or edge.logged_command(),
            )
        )
    return described


def _load(text: bytes) -> list[object]:
    disk = MemoryDisk({"inc": "x = 3\n"})
    disk.files["build.ninja"] = text
    try:
        return _describe(load_manifest(disk, "build.ninja", _ignore))
    except ManifestError as error:
        return [str(error)]


@given(_BYTES)
def test_any_manifest_gives_a_graph_or_a_manifest_error(text: bytes) -> None:
    _load(text)


_PATHS = st.lists(st.sampled_from(("a", "b", "./c", "d/../e", "d//f", "g$ h", "$v", "#")), max_size=3).map(" ".join)
_BLOCKS = st.lists(
    st.sampled_from(
        ("  x = 1\n", " y =   2 \n", "  # c\n", "# c\n", "\n", "  \n", "  v = $x\n", "  pool = console\n", "   z=a=b\n")
    ),
    max_size=4,
).map("".join)
_BUILDS = st.builds(
    "build {}{}: {} {}{}{}{}\n{}".format,
    _PATHS,
    st.sampled_from(("", " | i", "|j ", " |")),
    st.sampled_from(("cat", "phony", "cat2")),
    _PATHS,
    st.sampled_from(("", "| k l", " | ", "|a")),
    st.sampled_from(("", "|| m", " || ", "||n o ")),
    st.sampled_from(("", "|@ p", " |@ ")),
    _BLOCKS,
)
_HEAD = (
    "rule cat\n  command = cat $x $y $v $z $in $in_newline > $out\nrule cat2\n  command = $v\n  pool = console\nv = 0\n"
)


@given(st.lists(_BUILDS, max_size=6), st.booleans())
def test_the_short_way_to_read_builds_reads_what_the_long_way_reads(builds: list[str], has_dyndep: bool) -> None:
    # Outputs get numbers, or hardly any two statements would go together.
    numbers = itertools.count()
    text = (
        _HEAD
        + ("dyndep = a\n" if has_dyndep else "")
        + "".join(
            build.replace("build ", f"build o{next(numbers)} ", 1).replace("| i", f"| i{next(numbers)}", 1)
            for build in builds
        )
    )
    short = _load(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "read_plain_build", lambda graph, lexer, scope: None)
        long = _load(text.encode())
    assert short == long


_GRAPH_TEXT = (
    "rule cat\n  command = cat\n"
    "build a: cat || dd\n  dyndep = dd\nbuild b | c: cat || dd\n  dyndep = dd\nbuild d: cat\n"
)


@given(_BYTES)
def test_any_dyndep_file_is_taken_or_is_a_manifest_error(data: bytes) -> None:
    disk = MemoryDisk({"build.ninja": _GRAPH_TEXT})
    graph = load_manifest(disk, "build.ninja", _ignore)
    disk.files["dd"] = data
    try:
        load_dyndep(graph, disk, graph.node("dd"))
    except ManifestError:
        return
    for edge in graph.edges:
        assert all(edge in node.out_edges for node in edge.inputs)


@given(_BYTES)
def test_any_depfile_is_taken_or_is_a_manifest_error(data: bytes) -> None:
    try:
        depfile = parse_depfile(data)
    except ManifestError:
        return
    assert len(set(depfile.inputs)) == len(depfile.inputs)
    assert "" not in depfile.inputs + depfile.targets


_MAKE_TEXTS = st.lists(
    st.sampled_from(
        ("a", "b.c", ":", " ", "\\\n", "\n", "\\ ", "\\\\ ", "\\#", "\\:", "$$", "$", "\t", "\r\n", "\\", "#", ";")
    )
).map("".join)


@given(_MAKE_TEXTS)
def test_the_short_way_to_read_depfiles_reads_what_the_long_way_reads(text: str) -> None:
    results: list[object] = []
    # A tab is a separator just as a space is, and only the long way knows it.
    for variant in (text, text.replace(" ", "\t", 1) if "\\ " not in text else text):
        try:
            results.append(parse_depfile(variant.encode()))
        except ManifestError as error:
            results.append(str(error))
    assert results[0] == results[1]


@given(st.text(), st.text(max_size=5))
def test_any_compiler_output_is_taken(output: str, prefix: str) -> None:
    found = parse_show_includes(output, prefix)
    assert "" not in found.includes


@given(st.one_of(_BYTES, st.binary(max_size=200).map(lambda data: b"# ninja log v5\n" + data)))
def test_any_build_log_is_taken(data: bytes) -> None:
    disk = MemoryDisk()
    disk.files[".ninja_log"] = data
    log = BuildLog(disk, ".ninja_log", 5)
    log.create()
    log._append("1\t2\t3\tout\tabc\n")
    assert BuildLog(disk, ".ninja_log", 5).entries["out"] == (1, 2, 3, 0xABC)
    assert set(log.entries) <= set(BuildLog(disk, ".ninja_log", 5).entries)


_WORDS = st.integers(0, 6).map(lambda number: number.to_bytes(4, "little"))
_RECORDS = st.lists(
    st.one_of(
        st.sampled_from(
            (
                b"\x08\0\0\0aa\0\0\xff\xff\xff\xff",
                b"\x08\0\0\0bb\0\0\xfe\xff\xff\xff",
                b"\x08\0\0\0cccc\xfd\xff\xff\xff",
                b"\x10\0\0\x80\0\0\0\0\x05\0\0\0\0\0\0\0\x01\0\0\0",
            )
        ),
        _WORDS,
        st.binary(max_size=9),
    ),
    max_size=12,
).map(b"".join)


@given(st.one_of(_BYTES, _RECORDS.map(lambda data: b"# ninjadeps\n\x04\0\0\0" + data)))
def test_any_deps_log_is_taken_and_can_be_added_to(data: bytes) -> None:
    disk = MemoryDisk({"build.ninja": _GRAPH_TEXT})
    disk.files[".ninja_deps"] = data
    graph = load_manifest(disk, "build.ninja", _ignore)
    DepsLog(disk, ".ninja_deps", graph).record(graph.node("d"), 77, [graph.node("x"), graph.node("aa")])
    graph = load_manifest(disk, "build.ninja", _ignore)
    log = DepsLog(disk, ".ninja_deps", graph)
    assert log.warning == ""
    deps = log.deps(graph.node("d"))
    assert deps is not None
    assert (deps.mtime_ns, [node.path for node in deps]) == (77, ["x", "aa"])


@given(_BYTES, _BYTES)
def test_any_files_give_a_plan_or_a_manifest_error(text: bytes, log: bytes) -> None:
    disk = MemoryDisk()
    disk.files["build.ninja"] = text
    disk.files[".ninja_log"] = log
    try:
        build = prepare(disk)
        while edge := build.plan.find_work():
            build.plan.edge_finished(edge, is_success=True)
    except ManifestError:
        return
    assert not build.plan.has_more_to_do


@given(st.text("./ab", max_size=12))
def test_canonical_paths_stay_as_they_are(path: str) -> None:
    once = canonicalize(path)
    assert canonicalize(once) == once
    assert "//" not in once
    assert path.startswith("/") == once.startswith("/")
    assert (once == "") == (path == "")


@given(st.text(st.characters(exclude_characters="\0"), max_size=20))
def test_quoted_paths_have_no_open_quote(path: str) -> None:
    quoted = shell_quoted(path)
    assert quoted == path or quoted.replace("'\\''", "").count("'") == 2


@given(st.lists(st.text(max_size=200), max_size=8), st.sampled_from((5, 6, 7)))
def test_hashes_do_not_depend_on_their_neighbours(commands: list[str], version: int) -> None:
    assert command_hashes(commands, version) == [command_hash(command, version) for command in commands]


@given(st.text("ab", max_size=6), st.lists(st.text("abc", max_size=6)))
def test_a_suggestion_is_the_nearest_of_all(path: str, candidates: list[str]) -> None:
    found = nearest_path(path, candidates)
    distances = [_levenshtein(path, candidate) for candidate in candidates]
    if found is None:
        assert all(distance > 3 for distance in distances)
    else:
        assert _levenshtein(path, found) == min(distances)


def _levenshtein(left: str, right: str) -> int:
    if not left or not right:
        return len(left) + len(right)
    return min(
        _levenshtein(left[1:], right) + 1,
        _levenshtein(left, right[1:]) + 1,
        _levenshtein(left[1:], right[1:]) + (left[0] != right[0]),
    )


@given(_TEXTS)
def test_a_value_that_was_read_is_read_again(text: str) -> None:
    """What the lexer takes up to a line's end is independent of what follows."""
    try:
        parts = Lexer("file", text + "\n").value()
    except ManifestError:
        return
    assert Lexer("file", text + "\nmore").value() == parts
    assert len(parts) % 2 == 1
    assert Scope().lookup("x") == ""
