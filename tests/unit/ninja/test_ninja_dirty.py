"""Why an output is out of date, rule by rule, on a disk in memory."""

from __future__ import annotations

import pytest

from tests.unit.ninja.driver import Build, MemoryDisk, prepare
from zbuild.errors import ManifestError
from zbuild.ninja.edge import Edge

_RULES = (
    "rule r\n  command = make $out $extra\nrule gen\n  command = gen $extra\n  generator = 1\n"
    "rule restat\n  command = re $extra\n  restat = 1\n"
    "rule cc\n  command = cc $in\n  deps = gcc\n  depfile = $out.d\nrule old\n  command = cc $in\n  depfile = $out.d\n"
)


class Project:
    """A manifest on a disk in memory. Commands write their outputs and, if it has one, the depfile."""

    def __init__(self, text: str, *sources: str) -> None:
        self.disk = MemoryDisk()
        self.set_manifest(text)
        self.headers: list[str] = []
        for name in sources:
            self.disk.put(name)

    def set_manifest(self, text: str) -> None:
        self.disk.write("build.ninja", (_RULES + text).encode())

    def run(self, edge: Edge) -> tuple[bool, bytes]:
        self.disk.tick()
        for node in edge.outputs:
            self.disk.write(node.path, b"")
        if edge.depfile:
            inputs = " ".join([node.path for node in edge.explicit_inputs] + self.headers)
            self.disk.write(edge.depfile, f"{edge.outputs[0].path}: {inputs}\n".encode())
        self.disk.tick()
        return True, b""

    def build(self, *targets: str) -> list[str]:
        """Build; the first output of each edge that ran."""
        build = prepare(self.disk, targets)
        build.run(self.run)
        assert not build.plan.has_more_to_do
        return build.ran_outputs

    def plan(self, *targets: str) -> Build:
        return prepare(self.disk, targets)

    def reasons(self, *targets: str) -> list[str]:
        return self.plan(*targets).explanations


def test_a_missing_output_is_made_and_then_is_clean() -> None:
    project = Project("build a: r s\n", "s")
    assert project.reasons() == ["output a doesn't exist"]
    assert project.build() == ["a"]
    assert project.reasons() == []
    assert project.build() == []


def test_a_newer_input_makes_all_behind_it_dirty() -> None:
    project = Project("build a: r s\nbuild b: r a\nbuild c: r | b\n", "s")
    assert project.build() == ["a", "b", "c"]
    project.disk.put("s")
    reasons = project.reasons()
    assert reasons[0].startswith("output a older than most recent input s (")
    assert reasons[1:] == ["a is dirty", "b is dirty"]
    assert project.build() == ["a", "b", "c"]


def test_an_order_only_input_is_made_but_makes_nothing_dirty() -> None:
    project = Project("build a: r s || b\nbuild b: r t\n", "s", "t")
    assert project.build("a") == ["b", "a"]
    project.disk.put("t")
    assert project.build("a") == ["b"]
    project.disk.remove("b")
    assert project.build("a") == ["b"]


def test_a_changed_command_is_run_again_unless_it_is_a_generator() -> None:
    text = "build a: r s\n  extra = {0}\nbuild b: gen s\n  extra = {0}\n"
    project = Project(text.format(1), "s")
    project.build()
    project.set_manifest(text.format(2))
    assert project.reasons() == ["command line changed for a"]
    project.disk.remove(".ninja_log")
    assert project.reasons() == ["command line not found in log for a"]


def test_an_output_of_a_run_that_was_overtaken_is_dirty() -> None:
    """compile-inputs.md: a header that is edited during the compile."""
    project = Project("build a: r s\n", "s")

    def overtaken(edge: Edge) -> tuple[bool, bytes]:
        project.disk.put("s")
        return project.run(edge)

    project.plan().run(overtaken)
    assert project.disk.stat("a") > project.disk.stat("s")
    assert project.reasons()[0].startswith("recorded mtime of a older than most recent input s (")
    assert project.build() == ["a"]
    assert project.build() == []


def test_restat_goes_by_the_logged_time_and_not_by_the_outputs() -> None:
    project = Project("build a: restat s\nbuild b: r a\n", "s")
    assert project.build() == ["a", "b"]

    def unchanged(edge: Edge) -> tuple[bool, bytes]:
        return (True, b"") if edge.outputs[0].path == "a" else project.run(edge)

    project.disk.put("s")
    build = project.plan()
    assert build.plan.command_edge_count == 2
    build.run(unchanged)
    assert build.ran_outputs == ["a"]
    assert build.plan.command_edge_count == 1
    assert project.disk.stat("a") < project.disk.stat("s")
    assert project.reasons() == []
    project.disk.put("s")
    assert project.reasons()[0].startswith("recorded mtime of a older than most recent input s")


def test_inputs_from_the_deps_log() -> None:
    project = Project("build a: cc s\n", "s", "h")
    project.headers = ["h", "x/../h2"]
    project.disk.put("h2")
    assert project.build() == ["a"]
    assert "a.d" not in project.disk.files
    assert project.reasons() == []
    project.disk.put("h2")
    assert project.reasons()[0].startswith("output a older than most recent input h2")
    project.headers = ["h"]
    project.build()
    project.disk.put("h2")
    assert project.reasons() == []
    project.disk.put("a")
    assert project.reasons()[0].startswith("stored deps info out of date for 'a'")
    project.disk.remove(".ninja_deps")
    assert project.reasons() == ["deps for 'a' are missing"]


def test_a_header_that_vanished_makes_its_users_dirty_and_no_error() -> None:
    project = Project("build a: cc s\nbuild b: cc s\n", "s", "h")
    project.headers = ["h"]
    project.build()
    project.disk.remove("h")
    assert project.reasons() == ["h has no in-edge and is missing", "h is dirty", "h is dirty"]
    project.headers = []
    assert project.build() == ["a", "b"]
    assert project.build() == []


def test_a_generated_header_from_the_deps_log_is_made_first() -> None:
    project = Project("build a: cc s || h\nbuild h: r t\nbuild b: cc s || h\n", "s", "t")
    project.headers = ["h"]
    assert project.build() == ["h", "a", "b"]
    project.disk.put("t")
    build = project.plan("a")
    edge = build.graph.edges[0]
    assert [node.path for node in edge.inputs] == ["s", "s", "h", "h"]
    assert project.build() == ["h", "a", "b"]


def test_many_edges_share_headers_and_each_header_is_asked_for_once() -> None:
    project = Project("".join(f"build o{number}: cc s\n" for number in range(5)), "s", "h1", "h2", "h3")
    project.headers = ["h1", "h2", "h3"]
    project.build()
    project.disk.stat_calls.clear()
    assert not project.plan().plan.has_more_to_do
    assert sorted(project.disk.stat_calls) == sorted(["s", "h1", "h2", "h3", *(f"o{number}" for number in range(5))])
    project.disk.put("h2")
    assert [reason.split(" (")[0] for reason in project.reasons()] == [
        f"output o{number} older than most recent input h2" for number in range(5)
    ]


def test_a_recorded_header_that_a_dyndep_file_gives_an_edge_is_judged_by_that() -> None:
    text = "build p: cc s\nbuild e: r t || dd\n  dyndep = dd\nbuild q: cc s\n"
    project = Project(text, "s", "t", "n")
    project.disk.put("dd", "ninja_dyndep_version = 1\nbuild e | n: dyndep\n")
    project.headers = ["n", "newest"]
    project.build("e")
    project.disk.put("newest")
    project.build("p", "q")
    assert project.build("p", "e", "q") == []
    project.disk.put("t")
    plan = project.plan("p", "e", "q").plan
    assert [edge.outputs[0].path for edge in plan.wanted_edges()] == ["e", "q"]


def test_inputs_from_a_depfile_that_stays() -> None:
    project = Project("build a: old s\n", "s", "h")
    project.headers = ["h"]
    assert project.build() == ["a"]
    assert project.reasons() == []
    project.disk.put("h")
    assert project.reasons()[0].startswith("output a older than most recent input h")
    project.disk.put("a.d", "b: h\n")
    assert project.reasons() == ["expected depfile 'a.d' to mention 'a', got 'b'"]
    project.disk.remove("a.d")
    assert project.reasons() == ["depfile 'a.d' is missing"]


@pytest.mark.parametrize(
    ("depfile", "message"),
    [
        ("x\n", "a.d: expected ':' in depfile"),
        ("\n", "a.d: no outputs declared"),
        ("a b: c\n", "a.d: depfile mentions 'b' as an output, but no such output was declared"),
    ],
)
def test_a_malformed_depfile_is_named(depfile: str, message: str) -> None:
    project = Project("build a: old s\n", "s")
    project.disk.put("a.d", depfile)
    with pytest.raises(ManifestError) as caught:
        project.plan()
    assert str(caught.value) == message


def test_an_alias_passes_the_newest_time_on() -> None:
    project = Project("build all: phony s t\nbuild a: r | all\n", "s", "t")
    assert project.build() == ["a"]
    project.disk.put("t")
    assert project.reasons()[0].startswith("output a older than most recent input all (")


def test_an_alias_of_nothing_is_dirty_as_long_as_no_file_has_its_name() -> None:
    project = Project("build always: phony\nbuild a: r | always\n")
    plan = project.plan("always").plan
    assert (plan.has_more_to_do, plan.wanted_edge_count) == (False, 0)
    assert project.build() == ["a"]
    assert project.build() == ["a"]
    project.disk.put("always")
    assert project.build() == ["a"]
    assert project.build() == []


def test_one_missing_output_of_several_is_enough() -> None:
    project = Project("build a b | c: r s\n", "s")
    project.build()
    for name in ("a", "b", "c"):
        project.disk.remove(name)
        assert project.reasons() == [f"output {name} doesn't exist"]
        assert project.build() == ["a"]


def test_validations_are_built_and_not_waited_for() -> None:
    project = Project("build a: r s |@ v\nbuild v: r a\nbuild b: r a\n", "s")
    assert sorted(project.build("b")) == ["a", "b", "v"]
    project.disk.remove("v")
    assert project.build("b") == ["v"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("build a: r b\nbuild b: r a\nbuild c: r a\n", "dependency cycle: a -> b -> a"),
        ("build a a2: r b\nbuild b: r a2\nbuild c: r a\n", "dependency cycle: a2 -> b -> a2"),
        ("build a: phony | a\nbuild c: r a\n", "dependency cycle: a -> a"),
        ("build c: r none\n", "'none', needed by 'c', missing and no known rule to make it"),
    ],
)
def test_graphs_that_cannot_be_built(text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        Project(text).plan("c")
    assert str(caught.value) == message


def test_a_cycle_that_closes_through_a_recorded_input() -> None:
    project = Project("build a: cc s\nbuild h: r t\n", "s", "t")
    project.headers = ["h"]
    project.build("h")
    project.build("a")
    project.set_manifest("build a: cc s\nbuild h: r t | a\n")
    with pytest.raises(ManifestError, match="dependency cycle: h -> a -> h"):
        project.plan()


def test_a_graph_far_deeper_than_python_may_recurse() -> None:
    depth = 5000
    text = "build o0: r s\n" + "".join(f"build o{number}: r o{number - 1}\n" for number in range(1, depth))
    project = Project(text, "s")
    build = project.plan()
    assert build.plan.command_edge_count == depth
    while edge := build.plan.find_work():
        build.plan.edge_finished(edge, is_success=True)
    assert not build.plan.has_more_to_do
