"""Tokens, values and the place of an error."""

from __future__ import annotations

import pytest

from zbuild.errors import ManifestError
from zbuild.ninja import lexer as tokens
from zbuild.ninja.eval_string import EMPTY, evaluate
from zbuild.ninja.lexer import Lexer, SyntaxFault


def _all_tokens(text: str) -> list[str]:
    lexer = Lexer("file", text)
    found = []
    while (token := lexer.read()) != tokens.END_OF_FILE:
        found.append(token)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("build builder", [tokens.BUILD, tokens.IDENTIFIER]),
        ("rule pool default include subninja", ["'rule'", "'pool'", "'default'", "'include'", "'subninja'"]),
        (
            "a=b:c|d||e|@f",
            ["identifier", "'='", "identifier", "':'", "identifier", "'|'"]
            + ["identifier", "'||'", "identifier", "'|@'", "identifier"],
        ),
        ("  a\n", [tokens.INDENT, tokens.IDENTIFIER, tokens.NEWLINE]),
        ("  \n \r\n\n", [tokens.NEWLINE] * 3),
        ("# one\n  # two\r\na", [tokens.IDENTIFIER]),
        ("a $\n  $\r\n b", [tokens.IDENTIFIER] * 2),
        ("\t", [tokens.ERROR]),
        ("a # b", [tokens.IDENTIFIER, tokens.ERROR, tokens.IDENTIFIER]),
        ("a\0b", [tokens.IDENTIFIER]),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert _all_tokens(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain text\n", ("plain text",)),
        ("\n", EMPTY),
        ("$\n   \n", EMPTY),
        ("a $b ${c.d}e$f-g.h\n", ("a ", "b", " ", "c.d", "e", "f-g", ".h")),
        ("$$ $: $ x|:\r\n", ("$ :  x|:",)),
        ("a $\n    b $\r\n  c\n", ("a b c",)),
    ],
)
def test_values(text: str, parts: tuple[str, ...]) -> None:
    assert Lexer("file", text).value() == parts


def test_a_path_ends_at_space_colon_pipe_and_line() -> None:
    lexer = Lexer("file", "a b$ c:d|e\n")
    assert [lexer.path(), lexer.path(), lexer.path()] == [("a",), ("b c",), EMPTY]
    assert lexer.read() == tokens.COLON


def test_an_error_knows_file_line_and_column_and_draws_them() -> None:
    lexer = Lexer("some.ninja", "a = 1\nb : 2\n")
    lexer.binding()
    with pytest.raises(SyntaxFault) as caught:
        lexer.binding()
    assert str(caught.value) == "some.ninja:2: expected '=', got ':'\nb : 2\n  ^ near here"
    assert (caught.value.file_name, caught.value.line, caught.value.column) == ("some.ninja", 2, 2)


def test_columns_are_counted_in_bytes_as_ninja_does() -> None:
    with pytest.raises(SyntaxFault) as caught:
        Lexer("file", "ä = $%\n").binding()
    assert caught.value.column == 0
    lexer = Lexer("file", "a = ää$%\n")
    with pytest.raises(SyntaxFault) as caught:
        lexer.binding()
    assert caught.value.column == 8


def test_at_column_0_nothing_is_drawn() -> None:
    lexer = Lexer("file", "\tx")
    lexer.read()
    assert str(lexer.lexing_fault()) == "file:1: tabs are not allowed, use spaces"


def test_text_that_grows_without_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zbuild.limits.NINJA_TEXT_CHARS", 100)
    assert evaluate(("", "x", ""), lambda name: 100 * "a") == 100 * "a"
    with pytest.raises(ManifestError, match="more than 100 characters"):
        evaluate(("", "x", "b"), lambda name: 100 * "a")
