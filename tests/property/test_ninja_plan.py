"""Random builds, edited at random: zbuild.ninja plans what the real ninja plans, on the same files and logs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.ninja.driver import Build, prepare, run_command
from zbuild.errors import ManifestError
from zbuild.ninja.version import build_log_version

pytestmark = pytest.mark.needs("ninja")

_SOURCES = 4
_HEADERS = 3
_EDGES = 7
_RULES = """\
rule cat
  command = cat /dev/null $in > $out$salt
rule restat
  command = cat /dev/null $in | head -c 2 > $out.new; cmp -s $out.new $out || cp $out.new $out; rm $out.new $salt
  restat = 1
rule compile
  command = cat /dev/null $in $headers > $out && echo $out: $in $headers > $out.d $salt
  depfile = $out.d
  deps = gcc
rule depfile
  command = cat /dev/null $in $headers > $out && echo $out: $in $headers > $out.d $salt
  depfile = $out.d
rule generate
  command = cat /dev/null $in > $out $salt
  generator = 1
rule response
  command = cat $out.rsp > $out $salt
  rspfile = $out.rsp
  rspfile_content = $in_newline$salt
rule pair
  command = cat /dev/null $in > $out; cp $out $out.second $salt
rule pooled
  command = cat /dev/null $in > $out $salt
  pool = narrow
pool narrow
  depth = 1
"""
_RULE_NAMES = ("cat", "restat", "compile", "depfile", "generate", "response", "pair", "pooled", "phony")


@dataclass
class Statement:
    """One random build statement; inputs are drawn from the sources and the edges before it."""

    rule: str
    inputs: list[int]
    implicit: list[int]
    order_only: list[int]
    validations: list[int]
    headers: list[int]


@dataclass
class Step:
    """One random edit or build. ``index`` picks what it is done to."""

    kind: str
    index: int


def _indices(bound: int, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, bound - 1), max_size=most, unique=True)


_STATEMENTS = st.lists(
    st.builds(
        Statement,
        rule=st.sampled_from(_RULE_NAMES),
        inputs=_indices(_SOURCES + _EDGES, 3),
        implicit=_indices(_SOURCES + _EDGES, 1),
        order_only=_indices(_SOURCES + _EDGES, 1),
        validations=_indices(_SOURCES + _EDGES, 1),
        headers=_indices(_HEADERS, 2),
    ),
    min_size=1,
    max_size=_EDGES,
)
_STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(
            (
                "we build",
                "ninja builds",
                "edit source",
                "touch source",
                "edit header",
                "remove header",
                "remove output",
                "touch output",
                "change command",
                "remove depfile",
                "remove build log",
                "remove deps log",
                "tear build log",
                "tear deps log",
            )
        ),
        index=st.integers(0, 99),
    ),
    max_size=8,
)


class Project:
    """The files of a random build, in the current directory."""

    def __init__(self, statements: list[Statement]) -> None:
        self.statements = statements
        self.salts = [0] * len(statements)
        self.edits = 0
        for number in range(_SOURCES):
            Path(f"s{number}").write_text(f"source {number}\n")
        for number in range(_HEADERS):
            Path(f"h{number}").write_text(f"header {number}\n")
        self.write_manifest()

    def write_manifest(self) -> None:
        text = [_RULES]
        for number, statement in enumerate(self.statements):
            # A phony edge without any input is always out of date, and with it all that uses it.
            inputs = statement.inputs if statement.rule != "phony" or 0 in statement.inputs else [0, *statement.inputs]
            second = f" | o{number}.second" if statement.rule == "pair" else ""
            # No command can read an alias.
            aliases = [] if statement.rule == "phony" else [index for index in inputs if self._is_alias(index)]
            files = [index for index in inputs if index not in aliases]
            text.append(f"build o{number}{second}: {statement.rule} {self._paths(files, number)}")
            text.append(f" | {self._paths(aliases + statement.implicit, number)}")
            text.append(f" || {self._paths(statement.order_only, number)}")
            validations = [index for index in statement.validations if index < _SOURCES + len(self.statements)]
            text.append(f" |@ {self._paths(validations, len(self.statements))}\n")
            text.append(f"  salt = {'; true ' + str(self.salts[number]) if self.salts[number] else ''}\n")
            text.append(f"  headers = {' '.join(f'h{index}' for index in statement.headers)}\n")
        Path("build.ninja").write_text("".join(text))

    def _is_alias(self, index: int) -> bool:
        number = index - _SOURCES
        return 0 <= number < len(self.statements) and self.statements[number].rule == "phony"

    def _paths(self, indices: list[int], before: int) -> str:
        names = [f"s{index}" if index < _SOURCES else f"o{index - _SOURCES}" for index in indices]
        return " ".join(name for name in names if name[0] == "s" or int(name[1:]) < before) or " "

    def take(self, step: Step) -> None:
        """Carry out one step."""
        self.edits += 1
        source = Path(f"s{step.index % _SOURCES}")
        header = Path(f"h{step.index % _HEADERS}")
        number = step.index % len(self.statements)
        output = Path(f"o{number}")
        steps: dict[str, Callable[[], object]] = {
            "we build": self._build_ourselves,
            # Behind a torn line ninja leaves one that it cannot read itself, so there may still be work.
            "ninja builds": _ninja,
            "edit source": lambda: source.write_text(f"edit {self.edits}\n"),
            "touch source": source.touch,
            "edit header": lambda: header.write_text(f"edit {self.edits}\n"),
            "remove header": lambda: self._remove_header(header),
            "remove output": lambda: output.unlink(missing_ok=True),
            "touch output": lambda: None if self.statements[number].rule == "phony" else output.touch(),
            "change command": lambda: self._change_command(number),
            "remove depfile": lambda: Path(f"o{number}.d").unlink(missing_ok=True),
            "remove build log": lambda: Path(".ninja_log").unlink(missing_ok=True),
            "remove deps log": lambda: Path(".ninja_deps").unlink(missing_ok=True),
            "tear build log": lambda: _tear(Path(".ninja_log"), step.index),
            "tear deps log": lambda: _tear(Path(".ninja_deps"), step.index),
        }
        steps[step.kind]()

    def _build_ourselves(self) -> None:
        _build_ourselves()
        assert _ninja("-n") == "ninja: no work to do.\n"

    def _remove_header(self, header: Path) -> None:
        """No command that is yet to run may miss it, but the logs still know it."""
        header.unlink(missing_ok=True)
        for statement in self.statements:
            statement.headers = [index for index in statement.headers if f"h{index}" != header.name]
        self.write_manifest()

    def _change_command(self, number: int) -> None:
        self.salts[number] += 1
        self.write_manifest()


def _tear(path: Path, bytes_off: int) -> None:
    """What a full disk or a killed process leaves."""
    if path.exists():
        header = 16
        os.truncate(path, max(path.stat().st_size - bytes_off, header))


def _ninja(*arguments: str) -> str:
    result = subprocess.run(["ninja", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result
    return result.stdout


def _ninja_plans() -> list[str]:
    """The commands ninja would run."""
    lines = _ninja("-n", "-v").splitlines()
    if lines == ["ninja: no work to do."]:
        return []
    return sorted(line.partition("] ")[2] for line in lines)


def _planned(build: Build) -> list[str]:
    """The commands we would run."""
    commands = []
    while build.plan.has_more_to_do and (edge := build.plan.find_work()):
        commands.append(edge.command())
        build.plan.edge_finished(edge, is_success=True)
    assert not build.plan.has_more_to_do
    assert len(commands) == build.plan.command_edge_count
    return sorted(commands)


def _build_ourselves() -> None:
    build = prepare(new_log_version=build_log_version(_ninja("--version")))
    build.run(run_command)
    assert not build.failed, build.output
    assert not build.plan.has_more_to_do


@contextlib.contextmanager
def _new_directory() -> Iterator[None]:
    before = Path.cwd()
    directory = tempfile.mkdtemp(prefix="zbuild-property-")
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
        shutil.rmtree(directory)


@pytest.mark.timeout(300)
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(_STATEMENTS, _STEPS)
def test_plans_are_ninjas_whatever_was_edited(statements: list[Statement], steps: list[Step]) -> None:
    with _new_directory():
        project = Project(statements)
        assert _planned(prepare()) == _ninja_plans()
        for step in steps:
            project.take(step)
            try:
                ours: list[str] | None = _planned(prepare())
            except ManifestError:
                ours = None
            assert ours == _ninja_plans()
        _build_ourselves()
        assert _ninja("-n") == "ninja: no work to do.\n"
        assert not _planned(prepare())
