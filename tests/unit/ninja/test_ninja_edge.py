"""What an edge's variables expand to."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import MemoryDisk
from zbuild.errors import ManifestError
from zbuild.ninja.edge import Edge
from zbuild.ninja.manifest import load_manifest


def _edge(text: str) -> Edge:
    return load_manifest(MemoryDisk({"build.ninja": text}), "build.ninja", print).edges[0]


def test_paths_are_quoted_in_commands_and_plain_in_file_names() -> None:
    edge = _edge(
        "rule r\n  command = cc $in -o $out\n  depfile = $out.d\n  rspfile = $out.rsp\n"
        "  rspfile_content = $in_newline\n"
        "build a$ b: r c$ d it's\n"
    )
    assert edge.command() == "cc 'c d' 'it'\\''s' -o 'a b'"
    assert (edge.depfile, edge.rspfile) == ("a b.d", "a b.rsp")
    assert edge.rspfile_content == "'c d'\n'it'\\''s'"
    assert edge.binding("depfile") == "'a b'.d"


def test_the_logged_command_includes_the_response_file() -> None:
    text = "rule r\n  command = ld\n  rspfile = x\n  rspfile_content = $in\nbuild a: r b\n"
    assert _edge(text).logged_command() == "ld;rspfile=b"
    assert _edge(text.replace("r b", "r")).logged_command() == "ld"


def test_flags_are_set_by_any_text() -> None:
    edge = _edge(
        "rule r\n  command = x\n  restat = 0\n  deps = gcc\n  description = D $out\nbuild a: r\n  generator = 1\n"
    )
    assert edge.is_restat
    assert edge.is_generator
    assert (edge.deps_type, edge.description) == ("gcc", "D a")
    assert not _edge("rule r\n  command = x\n  restat =\nbuild a: r\n").is_restat


def test_rule_variables_may_refer_to_each_other_but_not_in_a_circle() -> None:
    head = "rule r\n  command = $description $description $rspfile\n  rspfile_content = x\n"
    tail = "build a: r\n"
    assert _edge(head + "  description = $rspfile\n  rspfile = y\n" + tail).command() == "y y y"
    with pytest.raises(ManifestError) as caught:
        _edge(head + "  description = $rspfile\n  rspfile = $description\n" + tail).command()
    assert str(caught.value) == "cycle in rule variables: description -> rspfile -> description"


def test_discovered_inputs_join_the_implicit_ones_once() -> None:
    edge = _edge("rule r\n  command = cat $in\nbuild a: r b | c || d\n")
    nodes = [edge.inputs[0], edge.inputs[1]]
    edge.discovered = nodes
    edge.adopt_discovered()
    edge.adopt_discovered()
    assert [node.path for node in edge.inputs] == ["b", "c", "b", "c", "d"]
    assert [node.path for node in edge.implicit_inputs] == ["c", "b", "c"]
    assert edge.command() == "cat b"
    assert edge.inputs[0].out_edges == [edge, edge]
