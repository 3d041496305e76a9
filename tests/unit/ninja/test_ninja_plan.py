"""The plan as a state machine: order, pools, failures, restat and dyndep files."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import Build, MemoryDisk, prepare
from zbuild.errors import IllegalTransition, ManifestError
from zbuild.ninja.edge import Edge
from zbuild.ninja.execution import begin_edge, extract_deps, finish_edge
from zbuild.ninja.plan import Plan, Want
from zbuild.ninja.regenerate import check_tries, is_manifest_remade, plan_manifest

_RULES = "rule r\n  command = make $out\nrule restat\n  command = re $out\n  restat = 1\n"


def _prepare(text: str, *sources: str, targets: tuple[str, ...] = (), log: str = "", dyndep: str = "") -> Build:
    disk = MemoryDisk({"build.ninja": _RULES + text, ".ninja_log": log, **dict.fromkeys(sources, "")})
    if dyndep:
        disk.write("dd", dyndep.encode())
    return prepare(disk, targets)


def _drain(build: Build) -> list[str]:
    """All edges that may start now."""
    found = []
    while edge := build.plan.find_work():
        found.append(edge.outputs[0].path)
    return found


def _finish(build: Build, *outputs: str, is_success: bool = True) -> None:
    for output in outputs:
        build.plan.edge_finished(_edge(build, output), is_success)


def _edge(build: Build, output: str) -> Edge:
    edge = build.graph.nodes[output].in_edge
    assert edge is not None
    return edge


def test_edges_wait_for_their_inputs() -> None:
    build = _prepare("build a: r s\nbuild b: r a\nbuild c: r s\nbuild d: r b || c\n", "s")
    assert (build.plan.command_edge_count, build.plan.wanted_edge_count) == (4, 4)
    assert _drain(build) == ["a", "c"]
    _finish(build, "a")
    assert _drain(build) == ["b"]
    _finish(build, "b")
    assert _drain(build) == []
    _finish(build, "c")
    assert _drain(build) == ["d"]
    _finish(build, "d")
    assert not build.plan.has_more_to_do
    assert (build.plan.command_edge_count, build.plan.wanted_edge_count) == (4, 0)


def test_aliases_are_passed_through_and_not_counted_as_commands() -> None:
    build = _prepare("build a: r s\nbuild alias: phony a\nbuild all: phony alias\nbuild b: r | all\n", "s")
    assert build.plan.command_edge_count == 2
    assert _drain(build) == ["a"]
    _finish(build, "a")
    assert _drain(build) == ["b"]


def test_what_needs_a_failed_edge_stays_wanted_and_the_rest_goes_on() -> None:
    build = _prepare("build a: r s\nbuild b: r a\nbuild c: r s\n", "s")
    assert _drain(build) == ["a", "c"]
    _finish(build, "a", is_success=False)
    _finish(build, "c")
    assert _drain(build) == []
    assert build.plan.has_more_to_do
    assert [edge.outputs[0].path for edge in build.plan.wanted_edges()] == ["a", "b"]


def test_the_longest_remaining_path_goes_first() -> None:
    text = "build short: r s\nbuild l1: r s\nbuild l2: r l1\nbuild l3: r l2\n"
    build = _prepare(text, "s")
    assert _drain(build) == ["l1", "short"]
    log = "# ninja log v5\n0\t9000\t1\tshort\tff\n0\t10\t1\tl1\tff\n0\t20\t1\tl2\tff\n0\t30\t1\tl3\tff\n"
    build = _prepare(text, "s", log=log)
    assert _drain(build) == ["short", "l1"]
    paths = [build.plan.critical_path_s(_edge(build, name)) for name in ("short", "l1", "l2", "l3")]
    assert paths == pytest.approx([9.0, 0.06, 0.05, 0.03])


def test_an_edge_of_unknown_duration_is_taken_to_last_as_long_as_the_others_do() -> None:
    log = "# ninja log v5\n0\t4000\t1\ta\tff\n0\t2000\t1\tb\tff\n"
    build = _prepare("build a: r s\nbuild b: r s\nbuild new: r s\n", "s", log=log)
    assert _drain(build) == ["a", "new", "b"]
    assert build.plan.critical_path_s(_edge(build, "new")) == 3.0


def test_equal_edges_start_in_the_order_of_the_manifest() -> None:
    build = _prepare("".join(f"build o{number:02d}: r s\n" for number in range(20)), "s")
    assert _drain(build) == [f"o{number:02d}" for number in range(20)]


def test_a_pool_holds_edges_back_and_lets_the_urgent_one_go_first() -> None:
    text = (
        "pool narrow\n  depth = 2\nrule p\n  command = p\n  pool = narrow\n"
        "build a: p s\nbuild b: p s\nbuild c: p s\nbuild last: r c\nbuild free: r s\nbuild never: p s\n"
    )
    build = _prepare(text, "s", targets=("a", "b", "last", "free"))
    assert _drain(build) == ["c", "a", "free"]
    _finish(build, "free")
    assert _drain(build) == []
    _finish(build, "a", is_success=False)
    assert _drain(build) == ["b"]


def test_the_console_is_a_pool_of_one() -> None:
    text = "rule t\n  command = t\n  pool = console\nbuild a: t s\nbuild b: t s\nbuild c: r s\n"
    build = _prepare(text, "s")
    assert _drain(build) == ["a", "c"]
    _finish(build, "a")
    assert _drain(build) == ["b"]


def test_edges_that_are_not_running_cannot_finish() -> None:
    build = _prepare("build a: r s\nbuild b: r a\n", "s")
    with pytest.raises(IllegalTransition):
        _finish(build, "b")
    _drain(build)
    _finish(build, "a")
    with pytest.raises(IllegalTransition):
        _finish(build, "a")
    with pytest.raises(IllegalTransition):
        build.plan._move(_edge(build, "b"), Want.TO_START)


def test_a_clean_output_takes_its_users_out_of_the_plan_if_nothing_else_made_them_dirty() -> None:
    text = "build a: restat s\nbuild b: r a\nbuild c: r b\nbuild d: r a t\nbuild all: phony b c d\n"
    build = _prepare(text, "s", "t")
    build.run(lambda edge: _touch(build, edge))
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.put("s")
    build = prepare(disk)
    assert build.plan.command_edge_count == 4
    build.run(lambda edge: (True, b""))
    assert build.ran_outputs == ["a"]
    disk.put("s")
    disk.put("t")
    build = prepare(disk)
    build.run(lambda edge: (True, b"") if edge.is_restat else _touch(build, edge))
    assert build.ran_outputs == ["a", "d"]


def test_a_user_whose_inputs_are_not_known_runs_even_after_a_clean_input() -> None:
    text = "rule cc\n  command = cc\n  deps = gcc\n  depfile = $out.d\nbuild a: restat s\nbuild b: cc a\n"
    build = _prepare(text, "s")
    build.run(lambda edge: _touch(build, edge))
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.remove(".ninja_deps")
    disk.put("s")
    build = prepare(disk)
    build.run(lambda edge: (True, b"") if edge.is_restat else _touch(build, edge))
    assert build.ran_outputs == ["a", "b"]


def _touch(build: Build, edge: Edge) -> tuple[bool, bytes]:
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.tick()
    for node in edge.outputs:
        disk.write(node.path, b"")
    return True, b""


_DYNDEP = (
    "build dd: r dd.in\nbuild a: r s || dd\n  dyndep = dd\nbuild b: r s || dd\n  dyndep = dd\nbuild x: r t\n"
    "build user: r b.mod\nbuild idle: phony a user\n"
)


def test_a_dyndep_file_adds_inputs_outputs_and_edges_while_building() -> None:
    build = _prepare(_DYNDEP, "s", "t", "dd.in", "b.mod", targets=("a", "b"))
    assert build.plan.command_edge_count == 3
    assert _drain(build) == ["dd"]
    build.disk.write(
        "dd", b"ninja_dyndep_version = 1\nbuild a: dyndep | b.mod x\nbuild b | b.mod: dyndep\n  restat = 1\n"
    )
    _finish(build, "dd")
    assert build.plan.command_edge_count == 4
    assert _edge(build, "b.mod") is _edge(build, "b")
    assert _edge(build, "b").is_restat
    assert sorted(_drain(build)) == ["b", "x"]
    _finish(build, "x")
    assert _drain(build) == []
    _finish(build, "b")
    assert _drain(build) == ["a"]
    _finish(build, "a")
    assert not build.plan.has_more_to_do


def test_an_input_from_a_dyndep_file_is_waited_for_though_later_ones_are_ready() -> None:
    text = "build dd: r s\nbuild first: r s\nbuild x: r s\nbuild a: r s || first dd\n  dyndep = dd\n"
    build = _prepare(text, "s", targets=("a", "x"))
    assert sorted(_drain(build)) == ["dd", "first", "x"]
    _finish(build, "first")
    build.disk.write("dd", b"ninja_dyndep_version = 1\nbuild a: dyndep | x\n")
    _finish(build, "dd")
    assert _drain(build) == []
    _finish(build, "x")
    assert _drain(build) == ["a"]


def test_a_dyndep_file_that_is_there_is_read_before_the_build() -> None:
    text = "ninja_dyndep_version = 1.0\nbuild a: dyndep | x\nbuild b: dyndep\n"
    build = _prepare(_DYNDEP.replace("build dd: r dd.in\n", ""), "s", "t", "b.mod", targets=("a",), dyndep=text)
    assert "loading dyndep file 'dd'" in build.explanations
    assert sorted(_drain(build)) == ["x"]
    assert _edge(build, "b.mod" if build.graph.nodes["b.mod"].in_edge else "b") is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "dd:1: expected 'ninja_dyndep_version = ...'"),
        ("build a: dyndep\n", "dd:1: expected 'ninja_dyndep_version = ...'"),
        ("ninja_dyndep_version = 2\n", "dd:1: unsupported 'ninja_dyndep_version = 2'"),
        ("other = 1\n", "dd:1: expected 'ninja_dyndep_version = ...'"),
        ("V\nV\n", "dd:2: unexpected identifier"),
        ("V\nbuild zz: dyndep\n", "dd:2: no build statement exists for 'zz'"),
        ("V\nbuild a: dyndep\nbuild ./a: dyndep\n", "dd:3: multiple statements for 'a'"),
        ("V\nbuild a b: dyndep\n", "dd:2: explicit outputs not supported"),
        ("V\nbuild a: dyndep b\n", "dd:2: explicit inputs not supported"),
        ("V\nbuild a: dyndep || b\n", "dd:2: order-only inputs not supported"),
        ("V\nbuild a: touch\n", "dd:2: expected build command name 'dyndep'"),
        ("V\nbuild a: dyndep\n  x = 1\n", "dd:3: binding is not 'restat'"),
        ("V\nbuild a: dyndep\n", "'b' not mentioned in its dyndep file 'dd'"),
        (
            "V\nbuild a: dyndep\nbuild b: dyndep\nbuild x: dyndep\n",
            "dyndep file 'dd' mentions output 'x' whose build statement does not have a dyndep binding for the file",
        ),
        ("V\nbuild a | x: dyndep\nbuild b: dyndep\n", "multiple rules generate x"),
        ("V\nbuild a | c: dyndep | b\nbuild b: dyndep | c\n", "dependency cycle: "),
    ],
)
def test_bad_dyndep_files(text: str, message: str) -> None:
    build = _prepare(_DYNDEP, "s", "t", "dd.in", "b.mod", targets=("a", "b"))
    assert _drain(build) == ["dd"]
    build.disk.write("dd", text.replace("V\n", "ninja_dyndep_version = 1\n").encode())
    with pytest.raises(ManifestError) as caught:
        _finish(build, "dd")
    assert str(caught.value).split("\n")[0].startswith(message)


def test_the_manifest_is_planned_if_an_edge_makes_it() -> None:
    text = "rule g\n  command = g\n  generator = 1\nbuild build.ninja: g in\nbuild a: r s\n"
    build = _prepare(text, "s", "in")
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.put("in")
    build = prepare(disk, ("a",))
    plan = plan_manifest(build.scan, "./build.ninja")
    assert plan is not None
    edge = plan.find_work()
    assert edge is not None
    assert edge.is_generator
    begin_mtime_ns = begin_edge(edge, build.graph, disk)
    disk.put("build.ninja", (_RULES + text))
    finish_edge(edge, plan, disk, [], 0, 1, begin_mtime_ns)
    assert is_manifest_remade(build.scan, "build.ninja")
    assert plan_manifest(prepare(disk, ("a",)).scan, "build.ninja") is None
    assert plan_manifest(build.scan, "other.ninja") is None


def test_a_manifest_that_a_restat_left_alone_is_good_for_another_plan() -> None:
    text = "build build.ninja: restat in\nbuild a: r s\n"
    build = _prepare(text, "s", "in")
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.put("in")
    build = prepare(disk, ("build.ninja",))
    build.run(lambda edge: (True, b""))
    assert build.ran_outputs == ["build.ninja"]
    assert not is_manifest_remade(build.scan, "build.ninja")
    assert build.graph.nodes["in"].mtime_ns is None


def test_a_reset_graph_looks_at_recorded_headers_again() -> None:
    text = "rule cc\n  command = cc\n  deps = gcc\n  depfile = $out.d\nbuild a: cc s\nbuild b: cc s\n"
    build = _prepare(text, "s", "h")
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.put("newest")
    disk.tick()

    def compile_it(edge: Edge) -> tuple[bool, bytes]:
        disk.write(edge.depfile, f"{edge.outputs[0].path}: h newest\n".encode())
        return _touch(build, edge)

    build.run(compile_it)
    build = prepare(disk)
    assert not build.plan.has_more_to_do
    build.graph.reset()
    disk.put("h")
    plan = Plan(build.scan)
    plan.add_target(build.graph.nodes["b"])
    assert plan.command_edge_count == 1


@pytest.mark.parametrize(("flag", "recorded_ns"), [("x = 1", 10), ("generator = 1", 20), ("restat = 1", 10)])
def test_the_recorded_time_is_that_of_the_start_except_for_generators(flag: str, recorded_ns: int) -> None:
    build = _prepare(f"build a b: r s\n  {flag}\n", "s", "b")
    edge = build.plan.find_work()
    assert edge is not None
    disk = build.disk
    assert isinstance(disk, MemoryDisk)
    disk.now_ns = 20
    disk.write("a", b"")
    finish_edge(edge, build.plan, disk, [], 0, 1, begin_mtime_ns=10)
    assert build.build_log.entries["a"].mtime_ns == recorded_ns


def test_a_manifest_that_is_never_up_to_date_is_given_up() -> None:
    check_tries("build.ninja", 99)
    with pytest.raises(ManifestError, match=r"manifest 'build.ninja' still dirty after 100 tries"):
        check_tries("build.ninja", 100)


def test_the_output_of_a_compiler_is_filtered_and_its_depfile_is_taken() -> None:
    text = (
        "rule m\n  command = cl\n  deps = msvc\nrule g\n  command = gcc\n  deps = gcc\n  depfile = $out.d\n"
        "rule bad\n  command = x\n  deps = other\nrule none\n  command = x\n  deps = gcc\n"
        "build a: m s\nbuild b: g s\nbuild c: bad s\nbuild d: none s\nbuild e: r s\n"
    )
    build = _prepare(text, "s", targets=("a",))
    graph, disk = build.graph, build.disk
    output, inputs = extract_deps(_edge(build, "a"), b"Note: including file: x.h\nhi\xff\n", graph, disk)
    assert (output, [node.path for node in inputs]) == (b"hi\xff\n", ["x.h"])
    assert extract_deps(_edge(build, "b"), b"hi", graph, disk) == (b"hi", [])
    disk.write("b.d", b"b: ./s y.h\n")
    kept = extract_deps(_edge(build, "b"), b"", graph, disk, is_keeping_depfile=True)
    assert [node.path for node in kept.inputs] == ["s", "y.h"]
    assert extract_deps(_edge(build, "b"), b"", graph, disk) == kept
    assert disk.stat("b.d") == 0
    assert extract_deps(_edge(build, "b"), b"", graph, disk, depfile_data=b"b: ./s y.h\n") == kept
    with pytest.raises(ManifestError, match="unknown deps type 'other'"):
        extract_deps(_edge(build, "c"), b"", graph, disk)
    with pytest.raises(ManifestError, match="edge with deps=gcc but no depfile makes no sense"):
        extract_deps(_edge(build, "d"), b"", graph, disk)
    assert extract_deps(_edge(build, "e"), b"x", graph, disk) == (b"x", [])
