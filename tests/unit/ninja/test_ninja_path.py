"""Canonical paths and quoting."""

from __future__ import annotations

import pytest

from zbuild.ninja.path import canonicalize, shell_quoted


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("", ""),
        ("foo.h", "foo.h"),
        ("./foo.h", "foo.h"),
        ("./foo/./bar.h", "foo/bar.h"),
        ("./x/foo/../bar.h", "x/bar.h"),
        ("./x/foo/../../bar.h", "bar.h"),
        ("foo//bar", "foo/bar"),
        ("foo//.//..///bar", "bar"),
        ("./x/../foo/../../bar.h", "../bar.h"),
        ("foo/./.", "foo"),
        ("foo/bar/..", "foo"),
        ("foo/.hidden_bar", "foo/.hidden_bar"),
        ("foo./bar..", "foo./bar.."),
        ("/foo", "/foo"),
        ("//foo", "/foo"),
        ("..", ".."),
        ("../", ".."),
        ("../foo", "../foo"),
        ("../../foo/bar", "../../foo/bar"),
        ("./..", ".."),
        ("/..", "/.."),
        ("/../foo/..", "/.."),
        ("foo/..", "."),
        (".", "."),
        ("./.", "."),
        ("/", "/"),
        ("//", "/"),
        ("/foo/..", "/"),
        ("a/../../b", "../b"),
        ("foo/", "foo"),
    ],
)
def test_canonicalize(path: str, canonical: str) -> None:
    assert canonicalize(path) == canonical


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("some/sensible/path/+a_B-9.txt", "some/sensible/path/+a_B-9.txt"),
        ("foo bar", "'foo bar'"),
        ("it's", "'it'\\''s'"),
        ("$x", "'$x'"),
        ("ä", "'ä'"),
        ("a:b", "'a:b'"),
        ("", ""),
    ],
)
def test_shell_quoted(path: str, quoted: str) -> None:
    assert shell_quoted(path) == quoted
