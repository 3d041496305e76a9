"""Links, archives and generators: what they read, what they write, and when they must not leave the client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.inputs.build_tree import BuildTree, command_of
from tests.unit.inputs.pickles import pickled, unpickled
from zbuild.inputs.analysis import LocalReason
from zbuild.model.action import OutputSpec

pytestmark = pytest.mark.needs("gcc", "cmake")


@pytest.fixture
def tree(tmp_path: Path) -> BuildTree:
    return BuildTree(tmp_path)


def compile_into(tree: BuildTree, name: str, text: str = "int x;", *flags: str) -> None:
    """An object, library or program of the build directory."""
    source = tree.write(f"{name}.c", text)
    target = tree.source / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-o", str(target), source, *flags], check=True, capture_output=True, cwd=tree.build)
    tree.context.invalidate(str(target))
    os.unlink(source)


def test_a_link_reads_objects_libraries_scripts_and_the_members_of_thin_archives(tree: BuildTree) -> None:
    """Table: link with thin archives; linker and version scripts."""
    for name in ("build/a.o", "build/lib/b.o"):
        compile_into(tree, name, f"int {Path(name).stem};", "-c")
    subprocess.run(["ar", "qcsDT", "lib/libb.a", "lib/b.o"], cwd=tree.build, check=True)
    tree.write("exports.map", "{};")
    analysis = tree.remote(
        ": && cc -shared -o libx.so a.o -Llib -lb -lm -Wl,--version-script=../exports.map && :",
        "libx.so",
        inputs=("a.o",),
    )
    assert tree.files(analysis) == {"build/a.o", "build/lib/libb.a", "build/lib/b.o", "exports.map"}
    assert any(name.startswith("file:/usr/lib") and name.endswith("/libm.so") for name in analysis.properties)
    assert analysis.kind == "link"


def test_a_link_against_a_shared_library_reads_what_that_needs(tree: BuildTree) -> None:
    compile_into(tree, "build/lib/libdeep.so", "int deep;", "-shared", "-fPIC", "-Wl,-soname,libdeep.so")
    compile_into(tree, "build/lib/liba.so", "int a;", "-shared", "-fPIC", "-Wl,--no-as-needed", "lib/libdeep.so")
    compile_into(tree, "build/m.o", "int main(void) { return 0; }", "-c")
    analysis = tree.remote("cc -o m m.o lib/liba.so", "m", inputs=("m.o", "lib/liba.so"))
    assert tree.files(analysis) == {"build/m.o", "build/lib/liba.so", "build/lib/libdeep.so"}


def test_mesons_archive_is_one_action(tree: BuildTree) -> None:
    tree.write("build/a.o")
    analysis = tree.remote("rm -f liba.a && ar csrDT liba.a a.o", "liba.a", inputs=("a.o",))
    assert tree.files(analysis) == {"build/a.o"}
    assert {"tool:/usr/bin/ar", "tool:/usr/bin/rm"} <= set(analysis.properties)
    assert analysis.kind == "archive"


def test_a_program_that_the_build_made_brings_its_libraries(tree: BuildTree) -> None:
    compile_into(tree, "build/lib/libg.so", "int g;", "-shared", "-fPIC", "-Wl,-soname,libg.so")
    rpath = f"-Wl,-rpath,{tree.build}/lib"
    compile_into(tree, "build/gen", "int main(void) { return 0; }", "-Wl,--no-as-needed", "lib/libg.so", rpath)
    tree.write("in.txt", "x")
    analysis = tree.remote("./gen --input=../in.txt -o out.h", "out.h", inputs=("gen",))
    assert tree.files(analysis) == {"build/gen", "build/lib/libg.so", "in.txt"}
    assert any(name.startswith("file:/lib") and "libc.so" in name for name in analysis.properties)


def test_a_program_that_the_same_line_links_is_no_input(tree: BuildTree) -> None:
    """CMake's POST_BUILD runs a test it has just linked."""
    compile_into(tree, "build/m.o", "int main(void) { return 0; }", "-c")
    analysis = tree.remote(f": && cc -o m m.o && cd {tree.build} && {tree.build}/m", "m", inputs=("m.o",))
    assert tree.files(analysis) == {"build/m.o"}
    assert command_of(analysis) == ": && cc -o m m.o && cd /zb/src/zb-build && /zb/src/zb-build/m"


def test_a_python_generator_brings_its_modules(tree: BuildTree) -> None:
    tree.write("tools/gen.py", "#!/usr/bin/python3\nimport sys\nfrom lib import part\n", is_executable=True)
    tree.write("tools/lib/__init__.py")
    tree.write("tools/lib/part.py")
    tree.write("tools/lib/unused.py")
    tree.write("tools/in.json")
    for command in (f"/usr/bin/python3 {tree.source}/tools/gen.py", "../tools/gen.py"):
        analysis = tree.remote(f"{command} ../tools/in.json --out=gen.h", "gen.h", inputs=("../tools/in.json",))
        staged = {"tools/gen.py", "tools/lib/__init__.py", "tools/lib/part.py", "tools/in.json"}
        assert tree.files(analysis) == staged
        assert "tool:/usr/bin/python3" in analysis.properties


def test_a_directory_that_is_named_is_staged_whole_but_not_the_build(tree: BuildTree) -> None:
    for name in ("data/a.txt", "data/sub/b.txt", "data/.git/config", "other/c.txt", "build/d.txt"):
        tree.write(name)
    analysis = tree.remote("/bin/cat --dir=../data -I../data ../data", "out")
    assert tree.files(analysis) == {"data/a.txt", "data/sub/b.txt"}
    assert {"/zb/src/data", "/zb/src/data/sub"} <= set(analysis.directories)
    whole = tree.remote(f"/bin/cat {tree.source} {tree.build}", "out")
    assert tree.files(whole) == {"data/a.txt", "data/sub/b.txt", "other/c.txt"}


def test_redirections_are_inputs_and_outputs(tree: BuildTree) -> None:
    tree.write("in.txt")
    analysis = tree.remote("/bin/cat <../in.txt >out.txt 2>err.txt", "out.txt")
    assert tree.files(analysis) == {"in.txt"}
    assert OutputSpec("/zb/src/zb-build/err.txt", optional=True) in analysis.outputs


def test_a_command_in_another_directory_is_mapped_as_seen_from_there(tmp_path: Path) -> None:
    tree = BuildTree(tmp_path)
    tree.write("sub/in.txt")
    analysis = tree.remote(f"cd {tree.source}/sub && /bin/cat in.txt ../build/x", "out", inputs=("../sub/in.txt",))
    assert command_of(analysis) == "cd /zb/src/sub && /bin/cat in.txt ../zb-build/x"
    assert "/zb/src/sub" in analysis.directories or tree.files(analysis) == {"sub/in.txt"}


def test_cmake_copies_are_outputs_even_when_undeclared(tree: BuildTree) -> None:
    tree.write("a.txt")
    analysis = tree.remote(f"/usr/bin/cmake -E copy {tree.source}/a.txt {tree.build}/b.txt", "stamp")
    assert OutputSpec("/zb/src/zb-build/b.txt", optional=True) in analysis.outputs
    assert tree.files(analysis) == {"a.txt"}


def test_cmake_scripts_are_mapped_and_bring_what_they_name(tree: BuildTree) -> None:
    tree.write("in.conf", "x")
    tree.write("cmake/part.cmake")
    tree.write(
        "build/gen.cmake", f'include("{tree.source}/cmake/part.cmake")\nconfigure_file({tree.source}/in.conf out)\n'
    )
    analysis = tree.remote(f"/usr/bin/cmake -DOUT={tree.build}/out -P {tree.build}/gen.cmake", "out")
    assert tree.files(analysis) == {"in.conf", "cmake/part.cmake"}
    content = dict(analysis.inline_inputs)["/zb/src/zb-build/gen.cmake"]
    assert content == b'include("/zb/src/cmake/part.cmake")\nconfigure_file(/zb/src/in.conf out)\n'
    assert command_of(analysis) == "/usr/bin/cmake -DOUT=/zb/src/zb-build/out -P /zb/src/zb-build/gen.cmake"


def test_mesons_pickled_command_is_mapped_and_brings_what_it_names(tree: BuildTree) -> None:
    script = tree.write("gen.py", "import part\n")
    tree.write("part.py")
    tree.write("in.txt")
    data = {"cmd_args": ["/usr/bin/python3", script, "../in.txt", "out.h"], "capture": "out.h"}
    tree.write("build/meson-private/run.dat", pickled(data))
    analysis = tree.remote("/usr/bin/meson --internal exe --unpickle meson-private/run.dat", "out.h")
    assert tree.files(analysis) == {"gen.py", "part.py", "in.txt"}
    mapped = unpickled(dict(analysis.inline_inputs)["/zb/src/zb-build/meson-private/run.dat"])
    assert mapped == {**data, "cmd_args": ["/usr/bin/python3", "/zb/src/gen.py", "../in.txt", "out.h"]}
    assert {"tool:/usr/bin/meson", "tool:/usr/bin/python3"} <= set(analysis.properties)
    assert any(name.startswith("file:") and name.endswith("/mesonbuild") for name in analysis.properties)


def test_mesons_capturing_command_is_looked_into(tree: BuildTree) -> None:
    tree.write("in.txt")
    analysis = tree.remote("/usr/bin/meson --internal exe --capture out.txt -- /bin/cat ../in.txt", "out.txt")
    assert tree.files(analysis) == {"in.txt"}
    assert "tool:/bin/cat" in analysis.properties


def test_sh_c_is_looked_into(tree: BuildTree) -> None:
    tree.write("in.txt")
    analysis = tree.remote("sh -c 'cat ../in.txt && ls'", "out")
    assert {"tool:/usr/bin/cat", "tool:/usr/bin/ls"} <= set(analysis.properties)
    assert tree.files(analysis) == {"in.txt"}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("git describe > version.h", LocalReason.VERSION_CONTROL),
        ("/usr/bin/python3 ../version.py", LocalReason.VERSION_CONTROL),
        ("sh ../version.sh", LocalReason.VERSION_CONTROL),
        ("make -C ../sub", LocalReason.NESTED_BUILD),
        ("/usr/bin/cmake --build x", LocalReason.NESTED_BUILD),
        ("/usr/bin/cmake -S.. -B.", LocalReason.NESTED_BUILD),
        ("/usr/bin/cmake -E copy_directory ../a b", LocalReason.UNKNOWN_OUTPUTS),
        ("/usr/bin/cmake -E cmake_autogen x.json", LocalReason.UNKNOWN_OUTPUTS),
        ("cp ../version.sh ../b", LocalReason.OUTPUT_OUTSIDE),
        ("/usr/bin/cmake -E touch ../x", LocalReason.OUTPUT_OUTSIDE),
        ("no-such-generator x", LocalReason.TOOL_NOT_FOUND),
        ("echo x > /etc/x", LocalReason.OUTPUT_OUTSIDE),
        ("eval x", LocalReason.SHELL_SYNTAX),
    ],
)
def test_what_stays_local(tree: BuildTree, command: str, reason: LocalReason) -> None:
    tree.write("version.py", "import subprocess\nsubprocess.run(['git', 'describe'])\n")
    tree.write("version.sh", "v=$(git describe --tags)\n")
    assert tree.reason(command, "version.h") is reason


def test_a_tool_of_somewhere_else_stays_local(tree: BuildTree, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(Path("/bin/true").read_bytes())
    (tmp_path / "tool").chmod(0o755)
    assert tree.reason(f"{tmp_path}/tool x", "out") is LocalReason.TOOL_OUTSIDE


def test_a_script_of_somewhere_else_is_staged(tree: BuildTree, tmp_path: Path) -> None:
    """As meson installed by pip into a virtual environment."""
    (tmp_path / "gen").write_text("#!/usr/bin/python3\nimport beside\n")
    (tmp_path / "gen").chmod(0o755)
    (tmp_path / "beside.py").write_text("")
    analysis = tree.remote(f"{tmp_path}/gen x", "out")
    assert set(analysis.inputs) == {f"{tmp_path}/gen", f"{tmp_path}/beside.py"}


def test_the_interpreter_of_a_virtual_environment_is_staged_with_its_configuration(
    tree: BuildTree, tmp_path: Path
) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python3").symlink_to("/usr/bin/python3")
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    tree.write("gen.py")
    analysis = tree.remote(f"{tmp_path}/venv/bin/python3 ../gen.py", "out")
    assert {f"{tmp_path}/venv/bin/python3", f"{tmp_path}/venv/pyvenv.cfg"} <= set(analysis.inputs)
    assert f"tool:{os.path.realpath('/usr/bin/python3')}" in analysis.properties


@pytest.mark.parametrize("output", ["CMakeFiles/doc", "sub/CMakeFiles/check.util", "meson-internal__run"])
def test_utility_targets_stay_local(tree: BuildTree, output: str) -> None:
    """What they make is not declared, so it would be lost."""
    assert tree.reason("/bin/true", output) is LocalReason.UNKNOWN_OUTPUTS


def test_a_declared_directory_is_staged_even_in_the_build(tree: BuildTree) -> None:
    tree.write("build/gen/a.txt")
    assert tree.files(tree.remote("/bin/ls gen", "out")) == set()
    assert tree.files(tree.remote("/bin/ls gen", "out", inputs=("gen",))) == {"build/gen/a.txt"}


def test_outputs_are_never_inputs(tree: BuildTree) -> None:
    tree.write("build/out.txt", "old")
    assert tree.files(tree.remote("touch out.txt && cat out.txt", "out.txt", inputs=("out.txt",))) == set()


@pytest.mark.parametrize(("output", "kind"), [("a.o", "assembly"), ("a.obj", "assembly"), ("boot.bin", "tool")])
def test_an_object_of_nasm_may_name_its_source_as_one_of_a_compiler_may(
    tree: BuildTree, output: str, kind: str
) -> None:
    """CMake spells sources absolutely: each was assembled twice, the second time under the user's own paths."""
    tree.write("nasm", "#!/bin/sh\n", is_executable=True)
    tree.write("a.asm")
    command = f"../nasm -f elf64 -DDATA={tree.source}/data -o {output} {tree.source}/a.asm"
    analysis = tree.remote(command, output, inputs=("../a.asm",))
    assert (analysis.kind, analysis.has_tool) == (kind, True)
    if kind == "assembly":
        assert command_of(analysis) == f"../nasm -f elf64 -DDATA={tree.source}/data -o a.{output[2:]} /zb/src/a.asm"
