"""Targets by name, and the progress text."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import MemoryDisk
from zbuild.errors import ManifestError
from zbuild.ninja.deps_log import DepsLog
from zbuild.ninja.graph import Graph
from zbuild.ninja.manifest import load_manifest
from zbuild.ninja.status import DEFAULT_FORMAT, Progress
from zbuild.ninja.target import find_target, find_targets, nearest_path


def _loaded() -> tuple[Graph, DepsLog]:
    disk = MemoryDisk({"build.ninja": "rule r\n  command = r\nbuild foo.o foo.x: r foo.c\nbuild app: r foo.o\n"})
    graph = load_manifest(disk, "build.ninja", print)
    return graph, DepsLog(disk, ".ninja_deps", graph)


@pytest.mark.parametrize(
    ("name", "path"),
    [("app", "app"), ("./x/../app", "app"), ("foo.c^", "foo.o"), ("foo.o^", "app"), ("seen.h^", "foo.o")],
)
def test_targets(name: str, path: str) -> None:
    graph, deps = _loaded()
    deps.record(graph.node("foo.o"), 1, [graph.node("seen.h")])
    assert find_target(graph, deps, name).path == path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty path"),
        ("fo.o", "unknown target 'fo.o', did you mean 'foo.o'?"),
        ("ap", "unknown target 'ap', did you mean 'app'?"),
        ("nothing_like_it", "unknown target 'nothing_like_it'"),
        ("clean", "unknown target 'clean', did you mean 'ninja -t clean'?"),
        ("app^", "'app' has no out edge"),
    ],
)
def test_unknown_targets(name: str, message: str) -> None:
    graph, deps = _loaded()
    with pytest.raises(ManifestError) as caught:
        find_target(graph, deps, name)
    assert str(caught.value) == message


def test_of_equally_near_names_the_first_is_suggested() -> None:
    assert nearest_path("app", ["xxxx", "apx", "apy", "ap"]) == "apx"


def test_no_name_means_the_defaults() -> None:
    graph, deps = _loaded()
    assert [node.path for node in find_targets(graph, deps, [])] == ["foo.x", "app"]
    assert [node.path for node in find_targets(graph, deps, ["foo.c"])] == ["foo.c"]


def _progress(status_format: str) -> Progress:
    progress = Progress(status_format, 2)
    for previous_ms in (1000, 3000, None, 2000):
        progress.edge_added(previous_ms)
    progress.edge_started(0)
    progress.edge_started(0)
    progress.edge_finished(2000, 2000, 1000)
    return progress


@pytest.mark.parametrize(
    ("status_format", "text"),
    [
        (DEFAULT_FORMAT, "[1/4] "),
        ("%s %t %r %u %f", "2 4 2 2 1"),
        ("%p%%", " 25%%"),
        ("%%s%%%f", "%s%1"),
        ("%e %w %o", "2.000 00:02 0.5"),
        ("%c", "?"),
        # 2 s are done; 5 s are left of two edges, and the fourth takes what the others take: 7 / 3 s.
        ("%P", " 21%"),
        ("%E %W", "7.333 00:07"),
    ],
)
def test_each_placeholder(status_format: str, text: str) -> None:
    assert _progress(status_format).text() == text


def test_the_current_rate_is_that_of_the_last_edges() -> None:
    progress = Progress("%c %r", 2)
    progress.edge_added(None)
    progress.edge_started(0)
    for now_ms in (1000, 2000, 2500):
        progress.edge_finished(now_ms, 1000, None)
        progress.text()
    assert progress.text() == "4.0 1"
    progress.edge_left()
    assert progress.text() == "4.0 0"


def test_nothing_is_predicted_before_something_is_known() -> None:
    assert Progress("%E %W %P %p %o", 1).text() == "? ?   0%   0% ?"
    removed = Progress("%t %P", 1)
    removed.edge_added(10)
    removed.edge_removed(10)
    assert removed.text() == "0   0%"


def test_hours_are_shown_once_there_are_any() -> None:
    progress = Progress("%w", 1)
    progress.edge_added(None)
    progress.edge_started(3_723_000)
    assert progress.text() == "1:02:03"


@pytest.mark.parametrize("status_format", ["%x", "%", "[%f/%"])
def test_an_unknown_placeholder_is_named(status_format: str) -> None:
    with pytest.raises(ManifestError, match=r"unknown placeholder '%x?' in \$NINJA_STATUS"):
        Progress(status_format, 1)
