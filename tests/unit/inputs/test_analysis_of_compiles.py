"""Compiles: what they read, where they run, and when they must not leave the client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree, command_of
from zbuild.inputs.analysis import CommandDescription, Local, LocalReason, Remote, analyse, with_more_inputs
from zbuild.inputs.roots import Roots
from zbuild.model.action import OutputSpec

pytestmark = pytest.mark.needs("gcc")


@pytest.fixture
def tree(tmp_path: Path) -> BuildTree:
    return BuildTree(tmp_path)


def test_a_compile_in_full(tree: BuildTree) -> None:
    tree.write("src/a.c", '#include <h.h>\n#include <stdio.h>\n#include "gen.h"\n')
    tree.write("inc/h.h", '#include "sub/i.h"\n')
    tree.write("inc/sub/i.h")
    tree.write("inc/unused.h")
    tree.write("build/gen.h")
    command = f"/usr/bin/cc -I{tree.source}/inc -I. -I../none -MD -MF a.o.d -o a.o -c ../src/a.c"
    analysis = tree.remote(command, "a.o", inputs=("../src/a.c",), depfile="a.o.d", deps="gcc")
    assert tree.files(analysis) == {"src/a.c", "inc/h.h", "inc/sub/i.h", "build/gen.h"}
    assert analysis.inputs[f"{tree.source}/inc/h.h"] == "/zb/src/inc/h.h"
    assert command_of(analysis) == "/usr/bin/cc -I/zb/src/inc -I. -I../none -MD -MF a.o.d -o a.o -c ../src/a.c"
    assert analysis.working_directory == analysis.writable_root == "/zb/src/zb-build"
    assert analysis.outputs == (OutputSpec("/zb/src/zb-build/a.o"), OutputSpec("/zb/src/zb-build/a.o.d", optional=True))
    assert analysis.properties == ("arch", "os", "tool:/bin/sh", "tool:/usr/bin/cc")
    assert {"/zb/src/inc", "/zb/src/zb-build"} <= set(analysis.directories)
    assert "/zb/none" not in analysis.directories
    assert (analysis.kind, analysis.is_cacheable, analysis.unsure) == ("compile", True, ())


def test_two_checkouts_make_the_same_action(tmp_path: Path) -> None:
    """Except where a path becomes part of the output."""
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        tree = BuildTree(tmp_path / name)
        tree.write("a.c", '#include "a.h"\n')
        tree.write("a.h")
        analysis = tree.remote(f"cc -I{tree.source} -c {tree.source}/a.c -o a.o", "a.o", inputs=(f"{tree.source}/a.c",))
        found.append(analysis._replace(inputs=dict.fromkeys(analysis.inputs.values(), ""), search_directories=()))
    assert found[0] == found[1]


def test_objects_that_a_compile_waits_for_are_not_its_inputs(tree: BuildTree) -> None:
    """CMake has a target's compiles wait for the libraries and generators of other targets."""
    tree.write("a.c")
    for name in ("build/liba.a", "build/libb.so", "build/libb.so.1", "build/x.o"):
        tree.write(name)
    tree.write("build/generator", Path("/bin/true").read_bytes())
    tree.write("build/README", "text")
    inputs = ("../a.c", "liba.a", "libb.so", "libb.so.1", "x.o", "generator", "README")
    assert tree.files(tree.remote("cc -c ../a.c -o a.o", "a.o", inputs=inputs)) == {"a.c", "build/README"}


def test_forced_includes_and_files_named_by_flags(tree: BuildTree) -> None:
    """Table: -include, -specs, sanitizer lists, plug-ins."""
    for name in ("a.c", "conf.h", "deep.h", "own.specs", "ignore.txt", "build/plugin.so"):
        tree.write(name, '#include "deep.h"\n' if name == "conf.h" else "")
    command = (
        "cc -include ../conf.h -specs=../own.specs -fsanitize-ignorelist=../ignore.txt -fplugin=./plugin.so -c ../a.c"
    )
    found = tree.files(tree.remote(f"{command} -o a.o", "a.o", inputs=("../a.c",)))
    assert found == {"a.c", "conf.h", "deep.h", "own.specs", "ignore.txt", "build/plugin.so"}


def test_response_files_are_staged_with_mapped_content(tree: BuildTree) -> None:
    """Table: rspfile."""
    tree.write("a.c", "#include <x.h>\n")
    tree.write("inc/x.h")
    tree.write("more.rsp", f"-I{tree.source}/inc")
    analysis = tree.remote(
        "cc @a.rsp -c ../a.c -o a.o",
        "a.o",
        inputs=("../a.c",),
        rspfile="a.rsp",
        rspfile_content=f"-DX @{tree.source}/more.rsp",
    )
    assert tree.files(analysis) == {"a.c", "inc/x.h"}
    assert dict(analysis.inline_inputs) == {
        "/zb/src/zb-build/a.rsp": b"-DX @/zb/src/more.rsp",
        "/zb/src/more.rsp": b"-I/zb/src/inc",
    }


def test_unity_sources_include_by_canonical_path(tree: BuildTree) -> None:
    tree.write("a.c", '#include "a.h"\n')
    tree.write("a.h")
    tree.write("build/unity.c", f'#include "{tree.source}/a.c"\n')
    analysis = tree.remote("cc -c unity.c -o u.o", "u.o", inputs=("unity.c",))
    assert tree.files(analysis) == {"a.c", "a.h"}
    assert dict(analysis.inline_inputs) == {"/zb/src/zb-build/unity.c": b'#include "/zb/src/a.c"\n'}


def test_launchers_of_other_caches_are_left_out(tree: BuildTree) -> None:
    tree.write("a.c")
    analysis = tree.remote("/usr/bin/ccache cc -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert command_of(analysis) == "cc -c ../a.c -o a.o"
    assert "tool:/usr/bin/ccache" not in analysis.properties


def test_a_compile_behind_a_script_of_the_project_is_one(tree: BuildTree) -> None:
    """It was a tool like any other: -march=native meant the worker, and no key had the compiler."""
    tree.write("wrap.sh", '#!/bin/sh\nexec "$@"\n', is_executable=True)
    tree.write("a.c", "#include <a.h>\n")
    tree.write("inc/a.h", f'#include "{tree.source}/b.h"\n')
    tree.write("inc/unused.h")
    tree.write("b.h")
    words = f"cc -march=native -I../inc -DDATA={tree.source}/data"
    analysis = tree.remote(f"../wrap.sh {words} -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert analysis.kind == "compile"
    assert "tool:/usr/bin/cc" in analysis.properties
    assert tree.files(analysis) == {"wrap.sh", "a.c", "b.h"}
    assert dict(analysis.inline_inputs) == {"/zb/src/inc/a.h": b'#include "/zb/src/b.h"\n'}
    command = command_of(analysis)
    assert command.startswith("../wrap.sh cc -m")
    assert "native" not in command
    assert f"-DDATA={tree.source}/data" in command


def test_a_tool_that_is_given_a_compile_and_makes_something_else_is_a_tool(tree: BuildTree) -> None:
    tree.write("check.sh", "#!/bin/sh\n", is_executable=True)
    tree.write("a.c")
    analysis = tree.remote("../check.sh cc -c ../a.c -o a.o > report", "report", inputs=("../a.c",))
    assert (analysis.kind, analysis.has_tool) == ("tool", True)
    assert {output.path for output in analysis.outputs} == {"/zb/src/zb-build/report"}


def test_native_is_spelled_out_for_the_clients_cpu(tree: BuildTree) -> None:
    """Table: -march=native. The words name this CPU, so the key differs between CPUs."""
    tree.write("a.c")
    command = command_of(tree.remote("cc -O2 -march=native -mtune=native -c ../a.c -o a.o", "a.o", inputs=("../a.c",)))
    assert "native" not in command
    assert "-mtune=" in command
    assert command.startswith("cc -O2 -m")
    assert command.endswith(" -c ../a.c -o a.o")


def test_native_in_a_response_file_is_spelled_out_there(tree: BuildTree) -> None:
    tree.write("a.c")
    tree.write("build/flags", "-O2 -march=native -DX=-march=native")
    analysis = tree.remote("cc @flags -c ../a.c -o a.o", "a.o")
    text = dict(analysis.inline_inputs)["/zb/src/zb-build/flags"].decode()
    assert text.startswith("-O2 -march=") and text.endswith(" -DX=-march=native")
    assert " -march=native" not in text


def test_an_include_directory_may_climb_out_of_one_that_holds_nothing_staged(tree: BuildTree) -> None:
    """CMakeLists.txt in build/cmake that says ``-I.../build/cmake/../../lib``."""
    tree.write("a.c", '#include "x.h"\n')
    tree.write("lib/x.h")
    tree.write("contrib/cmake/CMakeLists.txt")
    analysis = tree.remote("cc -I../contrib/cmake/../../lib -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert {"/zb/src/contrib", "/zb/src/contrib/cmake"} <= set(analysis.directories)
    assert tree.files(analysis) == {"a.c", "lib/x.h"}


def test_an_instrumented_object_is_made_under_the_users_own_paths(tree: BuildTree) -> None:
    """It names the file that the program will write its counters to."""
    tree.write("a.c")
    command = CommandDescription("cc --coverage -c ../a.c -o a.o", str(tree.build), ("../a.c",), ("a.o",))
    canonical = analyse(command, tree.context)
    assert isinstance(canonical, Local)
    assert canonical.reason is LocalReason.BUILD_PATH

    own = analyse(command, tree.context.respelled(Roots(str(tree.source), str(tree.build), is_canonical=False)))
    assert isinstance(own, Remote)
    assert own.has_own_paths
    assert OutputSpec(f"{tree.build}/a.gcno", optional=True) in own.outputs


def test_a_compiler_that_asks_the_clock_makes_a_result_uncacheable_and_that_is_said(tree: BuildTree) -> None:
    """Table: ``__DATE__``/``__TIME__``. clang does before version 16, whatever SOURCE_DATE_EPOCH says."""
    tree.write("tools/clang", '#!/bin/sh\nexec cc "$@"\n', is_executable=True)
    tree.write("a.c", '#include "v.h"\n')
    tree.write("v.h", "const char *built = __DATE__ __TIME__;\n")
    analysis = tree.remote("../tools/clang -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert not analysis.is_cacheable
    assert "v.h uses __DATE__" in analysis.uncacheable_reason
    tree.write("b.c")
    assert tree.remote("../tools/clang -c ../b.c -o a.o", "a.o").is_cacheable
    assert not tree.remote("../tools/clang -DB=__TIME__ -c ../b.c -o a.o", "a.o").is_cacheable
    assert tree.remote("../tools/clang -DB=__TIMESTAMP__ -c ../b.c -o a.o", "a.o").is_cacheable, "inputs have one time"


def test_a_compiler_that_is_given_the_date_makes_a_cacheable_result(tree: BuildTree) -> None:
    tree.write("a.c", "const char *built = __DATE__ __TIME__ __TIMESTAMP__;\n")
    assert tree.remote("cc -DB=__TIME__ -c ../a.c -o a.o", "a.o", inputs=("../a.c",)).is_cacheable


def test_a_projects_own_date_is_part_of_its_actions(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path, {"SOURCE_DATE_EPOCH": "1", "PATH": "/usr/bin"})
    tree.write("a.c", "const char *built = __DATE__;\n")
    analysis = tree.remote("cc -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert ("SOURCE_DATE_EPOCH", "1") in analysis.environment


def test_headers_of_packages_outside_the_compilers_own_directories_are_a_property(tree: BuildTree) -> None:
    tree.write("a.c")
    analysis = tree.remote("cc -I/usr/share -I/usr/include -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert "file:/usr/share" in analysis.properties
    assert "file:/usr/include" not in analysis.properties


def test_headers_elsewhere_are_staged_where_they_are(tree: BuildTree, tmp_path: Path) -> None:
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk/s.h").write_text("")
    tree.write("a.c", "#include <s.h>\n")
    analysis = tree.remote(f"cc -I{tmp_path}/sdk -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert analysis.inputs[f"{tmp_path}/sdk/s.h"] == f"{tmp_path}/sdk/s.h"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("cc -fprofile-use -c ../a.c -o a.o", LocalReason.BUILD_PATH),
        ("cc -c ../a.c -o ../a.o", LocalReason.OUTPUT_OUTSIDE),
        ("cc -c ../a.c -o a.o 2>/var/log/x", LocalReason.OUTPUT_OUTSIDE),
        ("cc $(pkg-config --cflags x) -c ../a.c -o a.o", LocalReason.SHELL_SYNTAX),
        ("no-such-cc -c ../a.c", LocalReason.TOOL_NOT_FOUND),
        ("/nowhere/gcc -c ../a.c", LocalReason.TOOL_NOT_FOUND),
        ("cc -c ../none.c -o a.o", LocalReason.UNREADABLE_INPUT),
        ("for f in a; do cc -c $f; done", LocalReason.SHELL_SYNTAX),
        ("cc -fdump-tree-all -c ../a.c -o a.o", LocalReason.UNKNOWN_OUTPUTS),
    ],
)
def test_what_stays_local(tree: BuildTree, command: str, reason: LocalReason) -> None:
    tree.write("a.c")
    assert tree.reason(command, "a.o", inputs=("../a.c",)) is reason


def test_a_reason_names_the_thing(tree: BuildTree) -> None:
    analysis = tree.analyse("no-such-cc -c a.c")
    assert isinstance(analysis, Local)
    assert str(analysis) == "tool not found: no-such-cc"


def test_extra_outputs_are_optional(tree: BuildTree) -> None:
    tree.write("a.c")
    analysis = tree.remote("cc -g -gsplit-dwarf -c ../a.c -o d/a.c.o", "d/a.c.o", inputs=("../a.c",))
    assert OutputSpec("/zb/src/zb-build/d/a.c.dwo", optional=True) in analysis.outputs
    assert OutputSpec("/zb/src/zb-build/d/a.c.o") in analysis.outputs
    assert "/zb/src/zb-build/d" in analysis.directories


def test_the_deps_log_helps_only_where_the_scan_is_unsure(tree: BuildTree) -> None:
    """Otherwise a first build and a later one would have other keys for the same compile."""
    tree.write("a.c")
    tree.write("old.h")
    command = "cc -c ../a.c -o a.o"
    assert tree.files(tree.remote(command, "a.o", inputs=("../a.c",), known_deps=("../old.h",))) == {"a.c"}
    tree.write("a.c", "#include CAT(old, .h)\n")
    analysis = tree.remote(command, "a.o", inputs=("../a.c",), known_deps=("../old.h", "/usr/include/stdio.h"))
    assert tree.files(analysis) == {"a.c", "old.h"}
    assert analysis.unsure != ()


def test_a_missed_header_is_added_with_what_it_includes(tree: BuildTree) -> None:
    tree.write("a.c", "#include CAT(x, .h)\n")
    tree.write("inc/x.h", '#include "y.h"\n')
    tree.write("inc/y.h")
    analysis = tree.remote("cc -I../inc -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    more = with_more_inputs(
        analysis, [f"{tree.source}/inc/x.h", f"{tree.source}/none.h", "/usr/include/stdio.h"], tree.context
    )
    assert tree.files(more) == {"a.c", "inc/x.h", "inc/y.h"}
    assert with_more_inputs(more, [f"{tree.source}/inc/x.h", f"{tree.source}/none.h"], tree.context) is more


def test_include_directories_of_the_environment_count(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path, {"CPATH": f"{tmp_path}/p/inc", "PATH": "/usr/bin"})
    tree.write("a.c", "#include <x.h>\n")
    tree.write("inc/x.h")
    analysis = tree.remote("cc -c ../a.c -o a.o", "a.o", inputs=("../a.c",))
    assert tree.files(analysis) == {"a.c", "inc/x.h"}
    assert ("CPATH", "/zb/src/inc") in analysis.environment


def test_a_respelled_context_shares_what_was_found(tree: BuildTree) -> None:
    tree.write("a.c", '#include "a.h"\n')
    own = tree.context.respelled(Roots(str(tree.source), str(tree.build), is_canonical=False))
    tree.write("a.h")
    analysis = analyse(CommandDescription("cc -c ../a.c -o a.o", str(tree.build), ("../a.c",), ("a.o",)), own)
    assert isinstance(analysis, Remote)
    assert analysis.working_directory == str(tree.build)
    assert analysis.inputs == {f"{tree.source}/{name}": f"{tree.source}/{name}" for name in ("a.c", "a.h")}


def test_the_order_in_which_edges_run_does_not_change_an_action(tree: BuildTree) -> None:
    """Otherwise building again after a clean build would miss the cache."""
    tree.write("a.c", '#include "x.h"\n')
    tree.write("x.h")
    tree.write("b.c", '#include "sub/../x.h"\n')
    tree.write("sub/y.h")
    command = "cc -I../inc -Igen -c ../a.c -o a.o"
    first = tree.remote(command, "a.o", inputs=("../a.c",))
    tree.remote("cc -I../inc -Igen -c ../b.c -o b.o", "b.o", inputs=("../b.c",))
    tree.write("build/gen/unrelated.txt")
    assert tree.remote(command, "a.o", inputs=("../a.c",)) == first
