"""zbuild.ninja beside the real ninja: the same manifests, the same errors, the same commands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.unit.ninja.driver import prepare
from zbuild.errors import ManifestError
from zbuild.ninja.disk import RealDisk
from zbuild.ninja.manifest import load_manifest

pytestmark = pytest.mark.needs("ninja")

_RULES = "rule cat\n  command = cat $in > $out\nrule touch\n  command = touch $out\n"

_BAD_MANIFESTS = {
    "text": "foo",
    "text and more": "foo bar",
    "no value": "x = ",
    "no equals sign": "x 3\n",
    "two equals signs": "x == 3",
    "colon for equals sign": "rule cat\n  command : cat\n",
    "tab at line start": "\tx = 3\n",
    "tab in a rule": "rule cat\n\tcommand = cat\n",
    "tab in a build block": "rule cat\n  command = cat\nbuild a: cat b\n\tx = 1\n",
    "indent": "  x = 3\n",
    "indent after an empty line": "x = 3\n\n  y = 3\n",
    "carriage return": "x = 3\ry = 4\n",
    "carriage return at start": "\rx = 4\n",
    "bad escape": "x = $\n",
    "bad escape in value": "x = ab$%cd\n",
    "bad escape in path": _RULES + "build $%: cat b\n",
    "unclosed brace": "x = ${foo\n",
    "empty brace": "x = ${}\n",
    "dollar at end of file": "x = $",
    "continued at end of file": "x = $\n",
    "continued and ended": "x = a $\n b",
    "comment without newline": "# comment",
    "braces": _RULES + "build a: cat {\n  x = ${ }\n",
    "rule without name": "rule\n",
    "rule with odd name": "rule %foo\n",
    "rule with two names": "rule cat dog\n",
    "rule twice": _RULES + _RULES,
    "rule phony": "rule phony\n  command = x\n",
    "rule without command": "rule cat\n",
    "rule with empty command": "rule cat\n  command =\n",
    "rule with other variable": "rule cat\n  command = cat\n  other = 1\n",
    "rule with rspfile only": "rule cat\n  command = cat\n  rspfile = x\n",
    "rule with rspfile_content only": "rule cat\n  command = cat\n  rspfile_content = x\n",
    "binding without name": "rule cat\n  command = cat\n  = 1\n",
    "binding without equals sign": "rule cat\n  command\n",
    "binding at end of file": "rule cat\n  command = cat",
    "build at end of file": "build\n",
    "build without rule": "build x: \n",
    "build without colon": _RULES + "build x\n",
    "build without colon but inputs": "build x y z\n",
    "build without outputs": _RULES + "build : cat x\n",
    "build with implicit outputs only": _RULES + "build | a: cat x\nbuild a: cat\n",
    "unknown rule": "build x: y z\n",
    "rule name of odd characters": "build x: %y z\n",
    "colon among inputs": _RULES + "build a: cat b:c\n",
    "colon among inputs later": _RULES + "build a: cat b | c:d e\n",
    "two colons": _RULES + "build a:: cat b\n",
    "three pipes": _RULES + "build a: cat b ||| c\n",
    "order-only before implicit": _RULES + "build a: cat b || c | d\n",
    "validation before order-only": _RULES + "build a: cat b |@ c || d\n",
    "validation among outputs": _RULES + "build a |@ c: cat b\n",
    "order-only among outputs": _RULES + "build a || c: cat b\n",
    "build without newline": _RULES + "build a: cat b",
    "empty output": _RULES + "build $empty: cat b\n",
    "empty input": _RULES + "build a: cat $empty\n",
    "empty input after bindings": _RULES + "build a: cat $empty\n  x = 1\n  y = 2\nbuild c: cat\n",
    "empty validation": _RULES + "build a: cat b |@ $empty\n",
    "multiple rules": _RULES + "build a: cat b\nbuild a: cat c\n",
    "multiple rules, bindings between": _RULES + "build a: cat b\nbuild c a: cat c\n  x = 1\n\n  \nbuild x: cat\n",
    "multiple rules by canonical path": _RULES + "build a: cat b\nbuild ./x/../a: cat c\n",
    "multiple rules, implicit": _RULES + "build a: cat b\nbuild b | a: cat c\n",
    "unknown pool": "rule cat\n  command = cat\n  pool = deep\nbuild a: cat b\n",
    "unknown pool of a build": _RULES + "build a: cat b\n  pool = deep\n",
    "pool without name": "pool\n",
    "pool without depth": "pool foo\n",
    "pool with other variable": "pool foo\n  bar = 1\n",
    "pool with bad depth": "pool foo\n  depth = -1\n",
    "pool with bad second depth": "pool foo\n  depth = 4\n  depth = -1\nbuild a: b c\n",
    "pool twice": "pool foo\n  depth = 4\npool foo\n",
    "pool console": "pool console\n  depth = 4\n",
    "default without target": "default\n",
    "default of nothing": "default $a\n",
    "default unknown": "default nonexistent\n",
    "default with a colon": _RULES + "build a: cat b\ndefault a:\n",
    "default with a pipe": _RULES + "build a: cat b\ndefault a | b\n",
    "include without name": "include\n",
    "include of nothing": "include nothing.ninja\n",
    "include of a directory": "include .\n",
    "include and more": "include empty.ninja x\n",
    "error in included file": "include bad.ninja\n",
    "error in subninja": "x = 1\nsubninja bad.ninja\n",
    "dyndep is no input": _RULES + "build a: cat b\n  dyndep = dd\n",
    "dyndep as order-only is fine, unknown pool is not": _RULES + "build a: cat b || dd\n  dyndep = dd\n  pool = p\n",
    "keyword as value name": "build = 1\n",
    "keyword in the middle": _RULES + "build a: cat b\n  rule = 1\n  build: 2\n",
    "long line": "x = " + 50 * "1234567890" + "$%",
    "long line, caret inside": "x = $%" + 50 * "1234567890" + "\n",
    "line of exactly 72 bytes": "x = $%" + 66 * "x" + "\n",
    "line of exactly 71 bytes": "x = $%" + 65 * "x" + "\n",
    "not ASCII": "ä = 1\n",
    "not ASCII before the fault": "x = äöü$%ä\n",
    "required version": "ninja_required_version = 99.1\n",
    "rule cycle": "rule cat\n  command = $rspfile\n  rspfile = $command\n  rspfile_content = 1\nbuild a: cat b\n",
    "cycle of three": _RULES + "build a: cat b\nbuild b: cat c\nbuild c: cat a\n",
    "cycle of one": _RULES + "build a: cat a\n",
    "cycle through a second output": _RULES + "build a b: cat c\nbuild c: cat a\nbuild d: cat b\ndefault b\n",
    "phony cycle": "build a: phony b a c\nbuild b: phony a\n",
    "phony cycle of implicit input": "build a: phony | a\n",
    "missing source": _RULES + "build a: cat nonexistent\n",
    "missing source of a source": _RULES + "build a: phony b\nbuild b: cat c | d\n",
    "missing source, required by nobody": _RULES + "build out: touch || nope\n",
    "no roots": _RULES + "build a: cat b\nbuild b: cat a\n",
    "nul byte": "x = a\0b\n",
}


def _write(directory: Path, text: str) -> None:
    (directory / "build.ninja").write_bytes(text.encode())
    (directory / "bad.ninja").write_text("y = 1\nrule\n")
    (directory / "empty.ninja").write_text("")


class _Said(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def _ninja(*arguments: str) -> _Said:
    result = subprocess.run(["ninja", *arguments], capture_output=True, check=False)
    # Decoded here, because subprocess would translate carriage returns.
    return _Said(result.returncode, os.fsdecode(result.stdout), os.fsdecode(result.stderr))


@pytest.mark.parametrize("name", _BAD_MANIFESTS)
def test_errors_read_like_ninjas(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, _BAD_MANIFESTS[name])
    result = _ninja("-n")
    assert result.returncode == 1, result
    warnings: list[str] = []
    with pytest.raises(ManifestError) as caught:
        build = prepare(warn=warnings.append)
        while edge := build.plan.find_work():
            build.plan.edge_finished(edge, is_success=True)
    kind = "fatal" if "ninja: fatal: " in result.stderr else "error"
    ours = "".join(f"ninja: warning: {warning}\n" for warning in warnings) + f"ninja: {kind}: {caught.value}"
    assert _without_version(ours) == _without_version(result.stderr.rstrip("\n"))


def _without_version(text: str) -> str:
    """ninja's own version is not ours."""
    return re.sub(r"ninja version \([^)]*\)", "ninja version ()", text)


_GOOD_MANIFESTS = {
    "empty": "",
    "newlines and comments": "\n\n# x\n   # y\n  \n",
    "variables": (
        "a = 1\nb = $a$a\na = 2\nc = ${b}x$b-$b.x$:$$$ y\nrule r\n  command = echo $a $b $c $in $out ${in}$out-$out.x\n"
        "a = 3\nbuild out: r in\nbuild out2: r in\n  a = 4\n  c = $a$b\na = 5\n"
    ),
    "special names": (
        "rule r\n  command = $a-b $c.d ${c.d} $e_f ${g-h}\na-b = 1\nc.d = 2\nc = 3\ne_f = 4\ng-h = 5\nbuild x: r\n"
    ),
    "continued lines": "rule r\n  command = foo bar $\n      baz $\n\nbuild a $\n   b: $\n  r $\n c $\n | d\n",
    "spaces in paths": 'rule r\n  command = cat $in $in_newline > $out\nbuild a$ b c$:d: r e$ f $$g it\'s "h" i*\n',
    "in and out as own variables": (
        "rule r\n  command = $in $out $x\nbuild a$x: r b$in\n  in = I\n  out = O\n  x = [$in]\n"
    ),
    "implicit and order-only": (
        "rule r\n  command = [$in] [$out]\nbuild a b | c d: r e f | g h || i j |@ k\nbuild k: r\n"
    ),
    "no spaces": "rule r\n  command = [$in] [$out]\nbuild a|b:r c|d||e|@k\nbuild k:r\n",
    "comments between bindings": (
        "rule r\n  # one\n  command = $x $y\n\nbuild a: r b\n  x = 1\n# two\n  y = 2\n  # three\nbuild c: r\n"
    ),
    "empty line ends the bindings": (
        "rule r\n  command = $x $y\n  \nx = 0\nbuild a: r b\n  x = 1\n\ny = 2\nbuild c: r\n"
    ),
    "carriage returns": (
        "rule r\r\n  command = $x $\r\n     y\r\nx = 1\r\nbuild a: r b\r\n  x = 2\r\nbuild c: r d\r\n\r\n"
    ),
    "scopes": (
        "x = 1\nrule r\n  command = $x $y $in\nsubninja sub.ninja\ny = late\ninclude inc.ninja\n"
        "build top: r\nbuild top2: r\n  x = own\n"
    ),
    "rule hides file, file hides rule": (
        "description = from file\nrule r\n  command = $description\n  description = from rule\n"
        "build a: r\nbuild b: r\n  x = 1\n"
    ),
    "rule variables of rule variables": (
        "rule r\n  command = $description $rspfile\n  description = d-$rspfile_content-d\n"
        "  rspfile = $out.rsp\n  rspfile_content = $in_newline\nbuild a: r b c\n"
    ),
    "file variables like rspfile": (
        "rspfile = f\nrspfile_content = g\nrule r\n  command = $rspfile $rspfile_content $depfile\n"
        "depfile = h\nbuild a: r\n  x = 1\n"
    ),
    "paths to make canonical": (
        "rule r\n  command = $in > $out\nbuild ./a//b/../c/./d: r ../x/../y /z/../w /../v foo/.. ./ a/b/. u//\n"
    ),
    "validations": "rule r\n  command = $out\nbuild a: r |@ b\nbuild b: r\nbuild c: r\ndefault a\n",
    "pools": (
        "pool p\n  depth = 2\nrule r\n  command = $out\n  pool = $which\nbuild a: r\n  which = p\n"
        "build b: r\n  which = console\nbuild c: r\n"
    ),
    "phony": (
        "rule r\n  command = $out\nbuild a: r\nbuild all: phony a | b || c\nbuild b: r\nbuild c: phony\n"
        "build d: phony d a\n"
    ),
    "names like keywords": (
        "rule build\n  command = $out $default\nbuild rule pool: build include | subninja\n"
        "builder = 1\nbuild include: phony\nbuild subninja: phony\n"
    ),
    "empty bindings": (
        "rule r\n  command = [$x] [$out]\nx = 1\nbuild a: r\n  x =\nbuild b: r\n  x = $empty\nbuild c: r\n  x =   \n"
    ),
    "trailing spaces": (
        "rule r   \n  command = [$x]  \nx = 1  \nbuild a: r   \n  x = 2  \nbuild   b  :  r  \ndefault a  b  \n"
    ),
    "values with every mark": "rule r\n  command = [$x]\nbuild a: r\n  x = a:b|c||d#e=f {g} \"h\" 'i' \\j\n",
    "not ASCII": "rule r\n  command = cat $in > $out\nbuild ä: r ö ü\n",
    "hash sign in paths": "rule r\n  command = $in\nbuild a: r b #c\n",
    "tab in paths": "rule r\n  command = $in\nbuild a: r b\tc\n",
    "rule used before it is redefined in a subninja": "rule r\n  command = 1 $out\nsubninja rules.ninja\nbuild a: r\n",
    "depth with junk": "pool p\n  depth = 3x\nrule r\n  command = $out\nbuild a: r\n  pool = p\n",
}


@pytest.mark.parametrize("name", _GOOD_MANIFESTS)
def test_commands_are_ninjas(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build.ninja").write_bytes(_GOOD_MANIFESTS[name].encode())
    (tmp_path / "sub.ninja").write_text("y = sub\nbuild s1: r a\nx = 2\nbuild s2: r a\n  y = own\n")
    (tmp_path / "inc.ninja").write_text("build i1: r a\nx = 3\nz = 4\n")
    (tmp_path / "rules.ninja").write_text("rule r\n  command = 2 $out\nbuild b: r\n")
    graph = load_manifest(RealDisk(), "build.ninja", print)
    listed = _ninja("-t", "targets", "all")
    assert listed.returncode == 0, listed
    ours = [f"{node.path}: {edge.rule.name}" for edge in graph.edges for node in edge.outputs]
    assert sorted(ours) == sorted(listed.stdout.splitlines())
    for edge in graph.edges:
        for node in edge.outputs:
            theirs = _ninja("-t", "commands", "-s", node.path)
            assert theirs.returncode == 0, theirs
            assert theirs.stdout == ("" if edge.is_phony else edge.command() + "\n")
            _assert_inputs_are_ninjas(node.path, [input_node.path for input_node in edge.inputs])


def _assert_inputs_are_ninjas(output: str, inputs: list[str]) -> None:
    """``ninja -t query`` marks implicit inputs with ``| `` and order-only ones with ``|| ``."""
    listed = _ninja("-t", "query", output).stdout
    lines = re.search(r"\n  input: .*\n((?:    .*\n)*)", listed)
    assert lines is not None, listed
    assert [re.sub(r"^    (\|\|? )?", "", line) for line in lines[1].splitlines()] == inputs


@pytest.mark.parametrize(
    "target", ["output_on", "clean", "help", "zzzzzzzzzz", "in1^", "in2^", "./sub/../output_one", "output_one^", ""]
)
def test_targets_are_found_like_ninja_does(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build.ninja").write_text(_RULES + "build output_one: touch in1\nbuild second: touch in2\n")
    (tmp_path / "in1").touch()
    (tmp_path / "in2").touch()
    theirs = _ninja("-n", "-v", target)
    try:
        build = prepare(targets=(target,))
        edge = build.plan.find_work()
        assert edge is not None
        assert theirs.stdout == f"[1/1] {edge.command()}\n"
    except ManifestError as error:
        assert theirs.stderr == f"ninja: error: {error}\n"
