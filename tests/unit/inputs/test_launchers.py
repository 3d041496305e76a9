"""Programs that run the program in their arguments."""

from __future__ import annotations

import pytest

from zbuild.inputs.launcher import unwrap, wrapped_compile


@pytest.mark.parametrize(
    ("line", "argv", "launchers", "dropped"),
    [
        ("gcc -c a.c", "gcc -c a.c", "", ""),
        ("ccache gcc -c a.c", "gcc -c a.c", "", "ccache"),
        ("/usr/bin/sccache /usr/bin/c++ a.cc", "/usr/bin/c++ a.cc", "", "/usr/bin/sccache"),
        ("ccache distcc gcc a.c", "gcc a.c", "", "ccache distcc"),
        ("ccache --version", "ccache --version", "", ""),
        ("env A=B -u C gcc a.c", "gcc a.c", "env", ""),
        ("/usr/bin/env ccache gcc a.c", "gcc a.c", "/usr/bin/env", "ccache"),
        ("/usr/bin/cmake -E env --unset=X A=B -- tool x", "tool x", "/usr/bin/cmake", ""),
        ("/usr/bin/cmake -E env A=B tool x", "tool x", "/usr/bin/cmake", ""),
        ("/usr/bin/cmake -E time tool x", "tool x", "/usr/bin/cmake", ""),
        ("/usr/bin/cmake -E touch x", "/usr/bin/cmake -E touch x", "", ""),
        (
            "cmake -E __run_co_compile --tidy=clang-tidy;-checks=x --source=a.c -- gcc -c a.c",
            *("gcc -c a.c", "cmake clang-tidy", ""),
        ),
        ("time -p nice -n 5 timeout -k 3 60 gcc a.c", "gcc a.c", "time nice timeout", ""),
        ("nohup ./gen", "./gen", "nohup", ""),
        ("/usr/bin/ctest --launch --language C -- cc -c a.c", "cc -c a.c", "/usr/bin/ctest", ""),
        ("ctest --launch --current", "ctest --launch --current", "", ""),
        ("ctest -D Nightly -- x", "ctest -D Nightly -- x", "", ""),
        ("env", "env", "", ""),
    ],
)
def test_what_does_the_work(line: str, argv: str, launchers: str, dropped: str) -> None:
    unwrapped = unwrap(tuple(line.split()))
    assert unwrapped.argv == tuple(argv.split())
    assert unwrapped.launchers == tuple(launchers.split())
    assert unwrapped.dropped == tuple(dropped.split())


def test_the_text_of_sh_c_is_a_command_line() -> None:
    assert unwrap(("/bin/sh", "-c", "a && b", "name")).script == "a && b"
    assert unwrap(("bash", "-ec", "a")).script == "a"
    assert unwrap(("sh", "script.sh", "-c", "x")).script is None


@pytest.mark.parametrize(
    ("line", "compiler"),
    [
        ("./wrap.sh gcc -c a.c -o a.o", 1),
        ("python3 wrap.py /usr/bin/c++ -c a.cc -o a.o", 2),
        ("./wrap --language C -- cc -c a.c -o a.o", 4),
        ("gcc -c gcc -o a.o", 0),
        ("./wrap.sh gcc a.c -o a", 0),
        ("./gen.py --compiler gcc -c config.h", 0),
        ("./gen a b gcc -c config.h", 0),
        ("./gen", 0),
    ],
)
def test_a_script_that_is_given_a_whole_compile(line: str, compiler: int) -> None:
    assert wrapped_compile(tuple(line.split())) == compiler
