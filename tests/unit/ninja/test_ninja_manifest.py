"""From manifests to graphs. Errors are compared with ninja's own in tests/integration/test_ninja_syntax.py."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import MemoryDisk
from zbuild import limits
from zbuild.errors import ManifestError
from zbuild.ninja.edge import Edge
from zbuild.ninja.graph import Graph
from zbuild.ninja.lexer import SyntaxFault
from zbuild.ninja.manifest import load_manifest

_RULES = "rule cat\n  command = cat $in > $out\n"


def _graph(text: str, files: dict[str, str] | None = None, warnings: list[str] | None = None) -> Graph:
    disk = MemoryDisk({"build.ninja": text, **(files or {})})
    ignored: list[str] = []
    return load_manifest(disk, "build.ninja", (ignored if warnings is None else warnings).append)


def _edge(graph: Graph, output: str) -> Edge:
    edge = graph.nodes[output].in_edge
    assert edge is not None
    return edge


def _paths(edge: Edge) -> list[list[str]]:
    groups = (
        edge.explicit_outputs,
        edge.explicit_inputs,
        edge.implicit_inputs,
        edge.order_only_inputs,
        edge.validations,
    )
    return [[node.path for node in nodes] for nodes in groups]


@pytest.mark.parametrize("tail", ["", "  x = $in\n"], ids=["short way", "long way"])
def test_all_kinds_of_outputs_and_inputs(tail: str) -> None:
    graph = _graph(_RULES + "build a b | c: cat d e | f g || h |@ i j\n" + tail)
    edge = _edge(graph, "c")
    assert _paths(edge) == [["a", "b"], ["d", "e"], ["f", "g"], ["h"], ["i", "j"]]
    assert [node.path for node in edge.outputs] == ["a", "b", "c"]
    assert edge.command() == "cat d e > a b"
    assert all(node.out_edges == [edge] for node in edge.inputs)
    assert not any(node.is_discovered for node in graph.nodes.values())


def test_a_rule_is_expanded_late_and_a_binding_at_once() -> None:
    graph = _graph(
        "x = early\nrule r\n  command = $x $own\nbuild a: r\nbuild b: r\n  own = $x\nx = late\nbuild c: r\n  own = $x\n"
    )
    assert [_edge(graph, name).command() for name in "abc"] == ["late ", "late early", "late late"]


def test_a_subninja_sees_the_outer_scope_and_keeps_its_own() -> None:
    graph = _graph(
        "x = outer\nrule r\n  command = $x\nsubninja sub\nbuild a: r\ninclude inc\nbuild b: r\n",
        {
            "sub": "build s: r\nx = inner\nbuild s2: r\nrule r\n  command = own $x\nbuild s3: r\n",
            "inc": "x = included\n",
        },
    )
    assert [_edge(graph, name).command() for name in ("s", "s2", "s3", "a", "b")] == [
        "inner",
        "inner",
        "own inner",
        "included",
        "included",
    ]


def test_paths_of_a_build_see_its_own_bindings() -> None:
    graph = _graph(_RULES + "name = file\nbuild $name.o: cat $name.c\n  name = own\n")
    assert _paths(_edge(graph, "own.o"))[1] == ["own.c"]


def test_files_that_include_each_other_without_end_are_refused() -> None:
    with pytest.raises(SyntaxFault, match=f"include each other {limits.NINJA_INCLUDE_DEPTH} deep"):
        _graph("include build.ninja\n")


def test_an_error_in_an_included_file_names_that_file() -> None:
    with pytest.raises(SyntaxFault) as caught:
        _graph("\nsubninja sub\n", {"sub": "\n\nrule r\n  x = 1\n"})
    assert (caught.value.file_name, caught.value.line) == ("sub", 4)


def test_variables_that_double_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "NINJA_TEXT_CHARS", 1000)
    text = "a = x\n" + 20 * "a = $a$a\n"
    with pytest.raises(ManifestError, match="more than 1000 characters"):
        _graph(text)


def test_pools_are_set_by_rules_and_edges() -> None:
    graph = _graph(
        "pool deep\n  depth = 3\nrule r\n  command = r\nrule p\n  command = p\n  pool = deep\n"
        "build a: r\nbuild b: p\nbuild c: p\n  pool = console\nbuild d: r\n  pool = deep\n"
    )
    assert [_edge(graph, name).pool.name for name in "abcd"] == ["", "deep", "console", "deep"]
    assert graph.pools["deep"].depth == 3
    assert _edge(graph, "c").is_console


def test_a_phony_edge_that_names_itself_is_forgiven_with_a_warning() -> None:
    warnings: list[str] = []
    graph = _graph("build a: phony b a || c a\n", warnings=warnings)
    assert _paths(_edge(graph, "a")) == [["a"], ["b"], [], ["c"], []]
    assert warnings == ["phony target 'a' names itself as an input; ignoring [-w phonycycle=warn]"]


def test_defaults_and_roots() -> None:
    text = _RULES + "build a: cat b\nbuild c: cat a\nbuild d: cat\n"
    assert [node.path for node in _graph(text).default_nodes()] == ["c", "d"]
    assert [node.path for node in _graph(text + "default ./a d\n").default_nodes()] == ["a", "d"]


def test_the_version_that_a_manifest_requires() -> None:
    warnings: list[str] = []
    _graph("ninja_required_version = 1.5\n", warnings=warnings)
    assert warnings == []
    _graph("ninja_required_version = 0.5\n", warnings=warnings)
    assert "versions may be incompatible" in warnings[0]
    with pytest.raises(ManifestError, match=r"incompatible with build file ninja_required_version version \(1.99\)"):
        _graph("ninja_required_version = 1.99\n")


def test_a_missing_manifest_is_named() -> None:
    with pytest.raises(ManifestError, match=r"^loading 'build.ninja': No such file or directory$"):
        load_manifest(MemoryDisk(), "build.ninja", print)


def test_log_paths_follow_builddir() -> None:
    assert _graph("").log_path(".ninja_log") == ".ninja_log"
    assert _graph("builddir = out/x\n").log_path(".ninja_log") == "out/x/.ninja_log"


def test_carriage_returns_end_lines() -> None:
    graph = _graph("rule r\r\n  command = $x\r\nbuild a: r b\r\n  x = 1\r\n\r\n")
    assert _edge(graph, "a").command() == "1"
    assert _paths(_edge(graph, "a"))[1] == ["b"]


def test_any_bytes_survive_in_paths() -> None:
    disk = MemoryDisk()
    disk.files["build.ninja"] = b"rule r\n  command = cat $in\nbuild \xff\xfe: r \xe4\n"
    edge = load_manifest(disk, "build.ninja", print).edges[0]
    assert edge.command().encode("utf-8", "surrogateescape") == b"cat '\xe4'"
