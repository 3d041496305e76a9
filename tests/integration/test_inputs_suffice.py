"""Real tools, given only what the analysis found, in a sandbox that holds nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.bare_sandbox import run_remote
from zbuild.inputs.analysis import AnalysisContext, CommandDescription, Remote, analyse, with_more_inputs
from zbuild.inputs.file_digests import FileDigests
from zbuild.inputs.missing_inputs import missing_paths
from zbuild.inputs.roots import Roots
from zbuild.inputs.toolchain import Toolchain

pytestmark = pytest.mark.needs("bubblewrap", "gcc", "cmake")

TOOLCHAIN = Toolchain()


class Build:
    """A project whose edges are run one after the other, each in a fresh stage."""

    def __init__(self, directory: Path, build: str = "p/build") -> None:
        self.source = directory / "p"
        self.build = directory / build
        self.source.mkdir()
        self.build.mkdir(parents=True, exist_ok=True)
        self.roots = Roots(str(self.source), str(self.build))
        self.context = AnalysisContext(self.roots, TOOLCHAIN, FileDigests(), {"PATH": "/usr/bin"})
        self._stages = directory / "stages"
        self._count = 0

    def write(self, name: str, text: str) -> None:
        (self.source / name).parent.mkdir(parents=True, exist_ok=True)
        (self.source / name).write_text(text)

    def analyse(
        self, command: str, outputs: tuple[str, ...], inputs: tuple[str, ...] = (), depfile: str = ""
    ) -> Remote:
        text = command.format(source=self.source, build=self.build)
        analysis = analyse(
            CommandDescription(text, str(self.build), inputs, outputs, depfile=depfile or None), self.context
        )
        assert isinstance(analysis, Remote), analysis
        return analysis

    def run(self, command: str, output: str, *inputs: str, depfile: str = "") -> bytes:
        completed = self.attempt(self.analyse(command, (output,), inputs, depfile))
        assert completed.returncode == 0, completed.stderr.decode()
        self.context.invalidate(str(self.build / output))
        return completed.stdout + completed.stderr

    def attempt(self, analysis: Remote) -> subprocess.CompletedProcess[bytes]:
        self._count += 1
        stage = self._stages / str(self._count)
        stage.mkdir(parents=True)
        return run_remote(analysis, self.roots, stage)


@pytest.fixture(params=["p/build", "p/out/deep", "b"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Below the sources, deep below, and apart from them."""
    return Build(tmp_path, request.param)


def test_a_project_with_everything(build: Build) -> None:
    """Generated headers, computed includes, -include, assembler with .incbin, thin archives, a program that the build
    makes and runs, and rspfiles."""
    build.write("gen.c", '#include <stdio.h>\nint main(void) { puts("#define N 3"); return 0; }\n')
    build.write("a.c", '#include "n.h"\n#include HEADER\nint a(void) { return N + M + FORCED; }\n')
    build.write("inc/m.h", "#define M 4\n")
    build.write("inc/forced.h", '#include "deep/forced.h"\n')
    build.write("inc/deep/forced.h", "#define FORCED 5\n")
    build.write("b.S", '#include "b.h"\n.data\n.global blob\nblob:\n.incbin "data.bin"\n.byte B\n')
    build.write("inc/b.h", "#define B 0\n")
    build.write("inc/data.bin", "blob")
    build.write(
        "main.c", "int a(void); extern char blob[]; int main(void) { return a() == 12 && blob[0] == 'b' ? 0 : 1; }\n"
    )
    cc = "/usr/bin/cc -I{source}/inc -I."
    build.run("/usr/bin/cc -o gen {source}/gen.c", "gen")
    build.run("./gen > n.h", "n.h", "gen")
    flags = "-include {source}/inc/forced.h '-DHEADER=\"m.h\"' -MD -MF a.o.d"
    build.run(f"{cc} {flags} -o a.o -c {{source}}/a.c", "a.o", "n.h", depfile="a.o.d")
    build.run(f"{cc} -o b.o -c {{source}}/b.S", "b.o")
    build.run(f"{cc} -o main.o -c {{source}}/main.c", "main.o")
    build.run("rm -f lib.a && ar csrDT lib.a a.o b.o", "lib.a", "a.o", "b.o")
    link = CommandDescription(
        ": && /usr/bin/cc -o main @link.rsp && :", str(build.build), ("main.o", "lib.a"), ("main",)
    )._replace(rspfile="link.rsp", rspfile_content=f"main.o {build.build}/lib.a")
    analysis = analyse(link, build.context)
    assert isinstance(analysis, Remote)
    assert build.attempt(analysis).returncode == 0
    assert subprocess.run([build.build / "main"], check=False).returncode == 0
    depfile = build.roots.unmap_depfile((build.build / "a.o.d").read_bytes()).decode()
    assert f"{build.source}/inc/deep/forced.h" in depfile
    assert " /zb/" not in depfile


def test_diagnostics_name_the_users_files(build: Build) -> None:
    build.write("a.c", '#include "inc/x.h"\n')
    build.write("inc/x.h", "#warning look here\n")
    output = build.run("/usr/bin/cc -c {source}/a.c -o a.o", "a.o")
    text = build.roots.unmap_output(output).decode()
    assert f"{build.source}/a.c:1" in text
    assert f"{build.source}/inc/x.h:1:2: warning" in text


def test_a_header_that_could_not_be_predicted_is_found_from_the_failure(build: Build) -> None:
    build.write("a.c", "#define CAT(x) <x.h>\n#include CAT(first)\n")
    build.write("inc/first.h", '#include "second.h"\n')
    build.write("inc/second.h", "int x;\n")
    analysis = build.analyse("/usr/bin/cc -I{source}/inc -c {source}/a.c -o a.o", ("a.o",))
    assert analysis.unsure != ()
    failed = build.attempt(analysis)
    assert failed.returncode != 0
    search = [build.roots.to_canonical(path) for path in analysis.search_directories]
    missing = missing_paths(failed.stdout + failed.stderr, analysis.working_directory, search)
    more = with_more_inputs(analysis, [build.roots.to_user(path) for path in missing], build.context)
    assert build.attempt(more).returncode == 0


def test_gnulibs_way_of_replacing_system_headers(build: Build) -> None:
    """A system header must include the project's replacement of another one, as it does outside of the sandbox."""
    build.write("a.c", "#include <sys/types.h>\n#ifndef REPLACED\n#error not replaced\n#endif\n")
    build.write("lib/sys/select.h", "#define REPLACED\n#include_next <sys/select.h>\n")
    build.run("/usr/bin/cc -I{source}/lib -c {source}/a.c -o a.o", "a.o")


def test_include_paths_that_climb(build: Build) -> None:
    build.write("src/a.c", '#include "../inc/sub/../x.h"\n#include <y.h>\n')
    build.write("inc/x.h", "")
    build.write("inc/sub/unused.h", "")
    build.write("other/y.h", "")
    build.run("/usr/bin/cc -I{source}/inc/sub/../../other -c {source}/src/../src/a.c -o a.o", "a.o")


def test_a_python_generator_in_another_directory(build: Build) -> None:
    build.write("tools/gen.py", "import sys, part\nopen(sys.argv[1], 'w').write(part.text('in.txt'))\n")
    build.write("tools/part.py", "def text(name):\n    return open(name).read()\n")
    build.write("data/in.txt", "hello")
    command = "cd {source}/data && /usr/bin/python3 {source}/tools/gen.py {build}/out.txt"
    analysis = build.analyse(command, ("out.txt",), (f"{build.source}/data/in.txt",))
    assert build.attempt(analysis).returncode == 0
    assert (build.build / "out.txt").read_text() == "hello"


def test_native_code_is_the_clients(tmp_path: Path) -> None:
    """The spelled out flags make the same object as the flag itself makes here."""
    build = Build(tmp_path)
    build.write("a.c", "void f(float *a, float *b) { for (int i = 0; i < 64; i++) a[i] = a[i] * b[i] + 1.0f; }\n")
    build.run("/usr/bin/cc -O3 -march=native -c ../a.c -o a.o", "a.o")
    subprocess.run(["cc", "-O3", "-march=native", "-c", "../a.c", "-o", "local.o"], cwd=build.build, check=True)
    assert disassembled(build.build / "a.o") == disassembled(build.build / "local.o")


def disassembled(path: Path) -> bytes:
    """The instructions, without the line that names the file."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", str(path)]
    return subprocess.run(command, capture_output=True, check=True).stdout.split(b"\n", 3)[3]
