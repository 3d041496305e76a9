"""The arguments of gcc and clang drivers."""

from __future__ import annotations

import pytest

from zbuild.inputs.compile_command import CompileCommand, is_compiler
from zbuild.inputs.compile_parser import parse_compile, response_words
from zbuild.inputs.local_reason import LocalReason


def parsed(line: str, **files: str) -> CompileCommand:
    return parse_compile(tuple(line.split()), files.get)


@pytest.mark.parametrize(
    "name",
    ["gcc", "/usr/bin/c++", "cc", "x86_64-linux-gnu-gcc-12", "clang++-15", "g++-12.2", "arm-none-eabi-g++", "c99"],
)
def test_compilers_are_known_by_name(name: str) -> None:
    assert is_compiler(name)


@pytest.mark.parametrize("name", ["clang-tidy", "gcc-ar", "cc1", "ccache", "gccgo", "cmake", "scc", "clang-format-15"])
def test_other_tools_are_not_taken_for_compilers(name: str) -> None:
    assert not is_compiler(name)


def test_search_directories_joined_and_separate_keep_their_order() -> None:
    command = parsed("gcc -Ia -I b -isystem c -isystemd -iquote e -idirafter f -I=g -cxx-isystem h -c x.c")
    assert command.include_dirs == ["a", "b", "=g"]
    assert command.system_dirs == ["c", "d", "h"]
    assert (command.quote_dirs, command.after_dirs) == (["e"], ["f"])


def test_sources_languages_and_modes() -> None:
    command = parsed("g++ -c a.c b.cc -x assembler-with-cpp c.inc -x none d.S e.o libf.a g.so.1")
    assert command.sources == [
        ("a.c", "c"),
        ("b.cc", "c++"),
        ("c.inc", "assembler-with-cpp"),
        ("d.S", "assembler-with-cpp"),
    ]
    assert command.link_inputs == ["e.o", "libf.a", "g.so.1"]
    assert [parsed(f"gcc {flag} x.c").mode for flag in ("-c", "-S", "-E", "-M", "-fsyntax-only", "-O2")] == [
        *("object", "assembly", "preprocess", "preprocess", "syntax", "link")
    ]


def test_definitions_are_kept_for_computed_includes() -> None:
    command = parsed("gcc -DA -DB= -D C=<x.h> -DD=1 -UD -c x.c")
    assert command.defines == {"A": "1", "B": "", "C": "<x.h>"}


def test_flags_that_read_files() -> None:
    command = parsed(
        "gcc -include a.h -imacros b.h -includec.h -specs=d -fplugin=./e.so -T f.ld -Wl,--version-script=g.map"
        " -Wl,-T,h.ld -Wl,--dynamic-list=i -fsanitize-ignorelist=j -fprofile-use=k.profdata -fmodule-map-file=l"
        " -Wl,--version-script,m -Xlinker --dynamic-list -Xlinker n -fprofile-use=o.gcda x.c"
    )
    assert command.forced_includes == ["a.h", "c.h"]
    assert command.forced_macros == ["b.h"]
    assert sorted(command.input_files) == [
        *("./e.so", "d", "f.ld", "g.map", "h.ld", "i", "j", "k.profdata", "l", "m", "n", "o.gcda")
    ]


def test_libraries_and_their_directories() -> None:
    command = parsed(
        "gcc a.o -Lb -L c -ld -l e -Wl,-rpath,/f:/g -Wl,-rpath-link=h -Wl,-lz -Wl,-Lq -Wl,--start-group,r.a"
    )
    assert command.library_dirs == ["b", "c", "/f", "/g", "h", "q"]
    assert command.libraries == ["d", "e", "z"]
    assert command.link_inputs == ["a.o", "r.a"]


def test_sysroot_and_tool_directories_change_the_builtin_search() -> None:
    command = parsed("gcc --sysroot=/s -Bt -m32 -stdlib=libc++ -nostdinc -c x.c")
    assert command.sysroot == "/s"
    assert command.input_directories == ["t"]
    assert command.tool_flags == ["--sysroot=/s", "-Bt", "-m32", "-stdlib=libc++", "-nostdinc"]


@pytest.mark.parametrize(
    ("flags", "outputs"),
    [
        ("-MD", {"d/x.c.d"}),
        ("-MD -MF q.d", {"q.d"}),
        ("-Wp,-MMD,q.d", {"q.d"}),
        ("-g -gsplit-dwarf", {"d/x.c.dwo"}),
        ("-gsplit-dwarf=single", set()),
        ("-fstack-usage", {"d/x.c.su"}),
        ("-fcallgraph-info", {"d/x.c.ci"}),
        ("-ftime-trace", {"d/x.c.json"}),
        ("-save-temps=obj", {"d/x.c.i", "d/x.c.s"}),
        ("-save-temps", {"d/x.c.i", "d/x.c.ii", "d/x.c.s"}),
        ("--coverage", {"d/x.c.gcno"}),
        ("-Wl,-Map=x.map", {"x.map"}),
        ("-Wa,-adhln=x.lst", {"x.lst"}),
    ],
)
def test_outputs_besides_the_object_are_known(flags: str, outputs: set[str]) -> None:
    """Lost .dwo, .su and .i files are a defect of compilers' distributors."""
    command = parsed(f"gcc {flags} -o d/x.c.o -c x.c")
    assert outputs <= set(command.extra_outputs)
    if not outputs:
        assert command.extra_outputs == []


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("-fprofile-use", LocalReason.BUILD_PATH),
        ("-fprofile-use=dir", LocalReason.BUILD_PATH),
        ("-fdump-tree-all", LocalReason.UNKNOWN_OUTPUTS),
        ("-fopt-info-vec=x", LocalReason.UNKNOWN_OUTPUTS),
        ("-dumpdir d/", LocalReason.UNKNOWN_OUTPUTS),
        ("-wrapper gdb,--args", LocalReason.TOOL_OUTSIDE),
        ("-I-", LocalReason.SHELL_SYNTAX),
        ("-Xclang -load", LocalReason.SHELL_SYNTAX),
    ],
)
def test_flags_that_need_the_client(flags: str, reason: LocalReason) -> None:
    assert parsed(f"gcc {flags} -o x.o -c x.c").local_reason is reason


@pytest.mark.parametrize(
    "flags",
    [
        *("--coverage", "-fprofile-arcs", "-fprofile-generate=dir", "-fprofile-dir=d"),
        *("-Xclang -emit-pch", "-Xclang -include-pch -Xclang x.pch"),
    ],
)
def test_flags_that_put_the_users_directories_into_outputs(flags: str) -> None:
    command = parsed(f"clang {flags} -o x.o -c x.c")
    assert command.local_reason is None
    assert command.own_path_flag


def test_the_front_ends_flags_are_read_through_the_drivers() -> None:
    command = parsed("clang -Xclang -include-pch -Xclang d/x.pch -Xclang -include -Xclang d/x.h -c x.c")
    assert {"d/x.pch", "d/x.cxx"} <= set(command.input_files)
    assert command.forced_includes == ["d/x.h"]


def test_flags_that_mean_this_machine_are_found() -> None:
    assert parsed("gcc -march=native -mtune=generic -mcpu=native -c x.c").cpu_flags == ["-march=native", "-mcpu=native"]


def test_response_files_are_read_inside_one_another() -> None:
    command = parsed("gcc @a -c x.c", a="-Ib '-Dc=\"d e\"' @f", f="-Lg\n-lh")
    assert (command.include_dirs, command.library_dirs, command.libraries) == (["b"], ["g"], ["h"])
    assert command.defines == {"c": '"d e"'}
    assert command.response_files == ["a", "f"]


def test_a_response_file_that_includes_itself_ends() -> None:
    assert parsed("gcc @a", a="@a").local_reason is LocalReason.SHELL_SYNTAX


def test_an_at_file_that_is_none_is_a_file() -> None:
    assert parsed("gcc @a").link_inputs == ["@a"]


def test_words_of_a_response_file() -> None:
    assert response_words("a \"b c\"\n'd e' f\\ g  $h `i` (j) *;k") == [
        "a",
        "b c",
        "d e",
        "f g",
        "$h",
        "`i`",
        "(j)",
        "*;k",
    ]
    assert response_words("it's") == ["it's"]


def test_values_of_flags_are_not_taken_for_files() -> None:
    command = parsed("gcc -MT a.o -MQ b.o --param x=1 -z now -u sym -Xassembler --noexecstack -arch x86_64 -c x.c")
    assert command.link_inputs == []
    assert command.sources == [("x.c", "c")]
