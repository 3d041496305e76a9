"""/bin/sh command lines, as CMake, Meson and people write them."""

from __future__ import annotations

import pytest

from zbuild import limits
from zbuild.inputs.shell import SimpleCommand, parse


def commands(text: str, **variables: str) -> list[SimpleCommand]:
    parsed = parse(text, "/w", variables, lambda pattern, directory: ["g1", "g2"] if pattern == "*.c" else [])
    assert parsed.reason is None
    return list(parsed.commands)


def argvs(text: str, **variables: str) -> list[tuple[str, ...]]:
    return [command.argv for command in commands(text, **variables)]


def test_a_plain_command() -> None:
    assert argvs("/usr/bin/gcc -DX=1 -c a.c -o a.o") == [("/usr/bin/gcc", "-DX=1", "-c", "a.c", "-o", "a.o")]


def test_cmakes_link_line() -> None:
    assert argvs(": && /usr/bin/c++ -O2 a.o -o x  && :") == [(":",), ("/usr/bin/c++", "-O2", "a.o", "-o", "x"), (":",)]


def test_cmakes_custom_command_changes_the_directory() -> None:
    (command,) = commands("cd /b/sub && /usr/bin/cmake -E touch x")
    assert (command.argv, command.working_directory) == (("/usr/bin/cmake", "-E", "touch", "x"), "/b/sub")


def test_mesons_archive_line() -> None:
    assert argvs("rm -f x.a && ar csrDT x.a a.o b.o") == [("rm", "-f", "x.a"), ("ar", "csrDT", "x.a", "a.o", "b.o")]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (r"-DX=\"a\"", '-DX="a"'),
        (r'"-DX=\"a b\""', '-DX="a b"'),
        ("'a b'", "a b"),
        (r"a\ b", "a b"),
        ("-DX=\"a\"'b'c", "-DX=abc"),
        (r'"a\n$$"', r"a\n"),
        ('""', ""),
        ("a#b", "a#b"),
        ("-DA=${X}y", "-DA=1y"),
        ('"$X"', "1"),
        ("'$X'", "$X"),
        ("$UNSET", ""),
        ("a~b", "a~b"),
        ("a=b", "a=b"),
        (r"-DX='\"y\"'", r"-DX=\"y\""),
    ],
)
def test_quotes_and_expansions(word: str, value: str) -> None:
    assert argvs(f"c {word} end", X="1") in ([("c", value, "end")], [("c", "", "end")] if "$$" in word else [])


def test_assignments_and_exports_reach_the_commands_behind_them() -> None:
    first, second = commands("A=1 c x; export B=2 && d $B")
    assert first.environment == (("A", "1"),)
    assert (second.argv, second.environment) == (("d", "2"), (("B", "2"),))


def test_a_variable_of_the_line_is_expanded() -> None:
    assert argvs("T=gcc; $T -c a.c") == [("gcc", "-c", "a.c")]


def test_redirections() -> None:
    (command,) = commands("c <in >out 2>>log 2>&1 &>all x")
    assert command.argv == ("c", "x")
    assert command.redirects == (("<", "in"), (">", "out"), (">>", "log"), (">&", "1"), ("&>", "all"))


def test_a_redirection_alone_still_makes_its_file() -> None:
    assert commands("> out")[0].redirects == ((">", "out"),)


def test_pipes_groups_and_conditions_are_taken_whole() -> None:
    text = "(cd x && a) | b; if c; then d; else e; fi; { f; } && ! g || h & i"
    assert [argv[0] for argv in argvs(text)] == ["a", "b", "c", "d", "e", "f", "g", "h", "i"]


def test_a_subshell_gives_the_directory_back() -> None:
    assert [command.working_directory for command in commands("(cd x && a); b")] == ["/w/x", "/w"]


def test_command_substitutions_are_commands_and_hide_their_word() -> None:
    parsed = commands("c a $(d -x `e`) f")
    assert [command.argv for command in parsed] == [("e",), ("d", "-x", ""), ("c", "a", "", "f")]
    assert parsed[-1].is_dynamic


def test_globs_become_the_files_that_exist() -> None:
    assert argvs("cat *.c *.none '*.c'") == [("cat", "g1", "g2", "*.none", "*.c")]


def test_comments_and_continued_lines() -> None:
    assert argvs("a b \\\n c # d\ne") == [("a", "b", "c"), ("e",)]


def test_spans_point_into_the_text() -> None:
    text = "cd x && cc -c a.c && ar q"
    assert [text[command.start : command.end] for command in commands(text)] == ["cc -c a.c", "ar q"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("for i in a b; do c $i; done", "for"),
        ("case $x in a) b;; esac", "case"),
        ("eval x", "eval"),
        (". ./env.sh && c", "."),
        ("cat <<EOF\nx\nEOF", "here-document"),
        ("a 'b", "unterminated quote"),
        ('a "b', "unterminated quote"),
        ("a $(b", "unterminated command substitution"),
        ("echo $((1+1))", "arithmetic expansion"),
        ("cd $(d) && e", "cd to a directory that is not named"),
        ("cd -", "cd to a directory that is not named"),
        ("`which gcc` -c a.c", "a program named by an expansion"),
        ("f() { a; }", "function definition"),
        ("a )", "unbalanced parenthesis"),
        ("(a", "incomplete command"),
        ("a >", "incomplete command"),
        ("echo ${X#y}z ${X:-'a b'}", "parameter expansion"),
    ],
)
def test_what_cannot_be_predicted_is_said(text: str, reason: str) -> None:
    parsed = parse(text, "/w", {})
    assert (parsed.commands, parsed.reason) == ((), reason)


def test_nesting_and_length_are_bounded() -> None:
    deep = "a " + "$(b " * (limits.SHELL_NESTING + 2) + ")" * (limits.SHELL_NESTING + 2)
    assert parse(deep, "/w").reason == "deeply nested commands"
    assert parse(";".join(["a 'b'"] * (limits.SHELL_COMMANDS + 1)), "/w").reason == "too many commands"


@pytest.mark.parametrize("word", ["x" * 5000, "'q'" * 2000, '"q"' * 2000, "\\q" * 2000])
def test_a_long_word_before_an_operator_takes_no_longer_than_another(word: str) -> None:
    """It took seconds for 25 letters and doubled with each further one: the build stood still."""
    assert len(parse(f"cat {word};cat {word}>out", "/b", {}).commands) == 2
