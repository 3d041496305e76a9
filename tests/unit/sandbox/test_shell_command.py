"""A command runs without a shell only where the shell would have done nothing but run it."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zbuild.sandbox.shell_command import without_shell

COMPILE = "/usr/bin/cc -DA=1 -I../include -O2 -std=gnu17 -MD -MT x.o -MF x.o.d -o CMakeFiles/x.dir/x.c.o -c /zb/src/x.c"


@pytest.mark.parametrize(
    "text",
    [COMPILE, "c++ -c a.cc", "gcc-12  -c   a.c ", "/usr/bin/x86_64-linux-gnu-g++-12 -c a.cc", "/bin/cp -r a b", "ar"],
)
def test_runs_directly(text: str) -> None:
    assert without_shell(("/bin/sh", "-c", text), ["LANG", "A_1"]) == tuple(text.split())


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"{COMPILE} {more}"
            for more in ("&& :", "> log", "; true", "| cat", "$X", "`id`", "'-DX'", '-DX="y"', "~/a")
        ),
        *(f"{COMPILE} {more}" for more in ("*.c", "a?", "[ab]", "{a,b}", "#", "a\\ b", "(", "!", "^", "é", "\n", "\t")),
        "cd /tmp",
        "X=1 /usr/bin/cc",
        "/usr/bin/cc=1",
        "./tools/gen in out",
        "tools/gen",
        "true",
        "exec cc -c a.c",
        "",
        " ",
    ],
)
def test_needs_its_shell(text: str) -> None:
    arguments = ("/bin/sh", "-c", text)
    assert without_shell(arguments, []) == arguments


@pytest.mark.parametrize(
    "arguments",
    [(), ("/usr/bin/cc", "-c", "a.c"), ("/bin/sh", "-c"), ("/bin/sh", "-c", COMPILE, "x"), ("/bin/sh", "x")],
)
def test_other_arguments_stay(arguments: tuple[str, ...]) -> None:
    assert without_shell(arguments, []) == arguments


def test_a_variable_that_a_shell_drops_keeps_the_shell() -> None:
    assert without_shell(("/bin/sh", "-c", COMPILE), ["a-b"]) == ("/bin/sh", "-c", COMPILE)


@given(st.lists(st.text("abAZ019_@%+=:,./-", min_size=1, max_size=8), max_size=5))
def test_words_are_those_of_the_shell(words: list[str]) -> None:
    text = " ".join(["/usr/bin/printf", "%s,", "-", *words])
    argv = without_shell(("/bin/sh", "-c", text), [])
    assert argv[0] == "/usr/bin/printf"
    shell, direct = (subprocess.run(each, capture_output=True, check=False) for each in (["/bin/sh", "-c", text], argv))
    assert (shell.returncode, shell.stdout) == (direct.returncode, direct.stdout)
