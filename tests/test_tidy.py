"""This repository keeps the rules of tests/tidy.py; and each of those rules can fail."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tidy
from tests.tidy import Rule, Source

ROOT = Path(__file__).resolve().parent.parent


DEFECTS = 18
"""In the table of what was wrong with the implementation whose behaviour this project delivers."""


def _sources() -> dict[str, Source]:
    siblings: dict[str, Source] = {}
    for directory in ("zbuild", "tests", "chaos"):
        for path in sorted((ROOT / directory).rglob("*.py")):
            source = Source(path.relative_to(ROOT).as_posix(), path.read_text(), siblings)
            siblings[source.module] = source
    return siblings


SOURCES = _sources()


@pytest.mark.parametrize("rule", tidy.RULES, ids=lambda rule: rule.__name__)
def test_the_repository_keeps(rule: Rule) -> None:
    problems = [f"{source.path}:{problem}" for source in SOURCES.values() for problem in rule(source)]
    assert not problems, "\n".join([f"{rule.__name__}: {rule.__doc__}", *problems])


BAD: list[tuple[Rule, str, str]] = [
    (tidy.imports_point_down, "zbuild/model/action.py", "from zbuild.protocol.codec import decode\n"),
    (tidy.imports_point_down, "zbuild/ninja/graph.py", "import zbuild.inputs.paths\n"),
    (tidy.imports_point_down, "zbuild/ninja/graph.py", "from zbuild import storage\n"),
    (tidy.imports_point_down, "zbuild/ninja/graph.py", "if TYPE_CHECKING:\n    from zbuild.client.core import Core\n"),
    (tidy.imports_point_down, "zbuild/ninja/graph.py", "def f():\n    from zbuild.cli import build\n"),
    (tidy.imports_point_down, "zbuild/ninja/graph.py", "from . import lexer\n"),
    (tidy.imports_point_down, "zbuild/novelty.py", ""),
    (tidy.imports_point_down, "zbuild/cli/build.py", "import zbuild.novelty\n"),
    (tidy.cores_are_pure, "zbuild/coordinator/core.py", "import time\n"),
    (tidy.cores_are_pure, "zbuild/client/core.py", "from random import choice\n"),
    (tidy.cores_are_pure, "zbuild/ninja/log.py", "import socket\n"),
    (tidy.no_op_path_is_light, "zbuild/digest.py", "import msgspec\n"),
    (tidy.no_op_path_is_light, "zbuild/ninja/log.py", "def f():\n    import rich.text\n"),
    (tidy.only_transport_imports_zmq, "zbuild/worker/agent.py", "import zmq.green\n"),
    (tidy.nothing_is_patched, "zbuild/worker/agent.py", "from gevent import monkey\n"),
    (tidy.nothing_is_patched, "zbuild/worker/agent.py", "import gevent.monkey\n"),
    (tidy.nothing_is_patched, "zbuild/worker/agent.py", "gevent.monkey.patch_all()\n"),
    (tidy.input_is_never_code, "zbuild/log.py", "import pickle\n"),
    (tidy.input_is_never_code, "zbuild/log.py", "eval('1')\n"),
    (tidy.input_is_never_code, "zbuild/log.py", "exec('x = 1')\n"),
    (tidy.input_is_never_code, "zbuild/log.py", "os.system('true')\n"),
    (tidy.input_is_never_code, "zbuild/log.py", "subprocess.run('true', shell=True)\n"),
    (tidy.is_short, "zbuild/log.py", "x = 1\n" * tidy.MAX_LINES),
    (tidy.has_no_tabs, "zbuild/log.py", "if x:\n\ty = 1\n"),
    (tidy.is_finished, "zbuild/log.py", "# TO" + "DO: later\n"),
    (tidy.is_finished, "zbuild/log.py", "# FIX" + "ME\n"),
    (tidy.names_say_something, "zbuild/ninja/utils.py", ""),
    (tidy.names_say_something, "tests/common/paths.py", ""),
    (tidy.names_say_something, "tests/unit/test_helpers.py", ""),
    (tidy.names_say_something, "zbuild/log.py", "class LeaseManager: ...\n"),
    (tidy.names_say_something, "zbuild/log.py", "def parse_helper(): ...\n"),
    (tidy.suppressions_have_reasons, "zbuild/log.py", "x = 1  # noqa\n"),
    (tidy.suppressions_have_reasons, "zbuild/log.py", "x = 1  # noqa: E501\n"),
    (tidy.suppressions_have_reasons, "zbuild/log.py", "x = 1  # type: ignore\n"),
    (tidy.suppressions_have_reasons, "zbuild/log.py", "x = 1  # type: ignore[attr-defined]\n"),
    (tidy.bounds_are_in_limits, "zbuild/worker/core.py", "MAX_PEERS = 1024\n"),
    (tidy.bounds_are_in_limits, "zbuild/worker/core.py", "QUEUE_LIMIT: int = 4\n"),
    (tidy.is_documented, "zbuild/log.py", "x = 1\n"),
    (tidy.is_documented, "zbuild/log.py", '"""The log."""\nclass Log: ...\n'),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD)
def test_a_rule_sees(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


def test_every_rule_is_seen_to_fail() -> None:
    assert {rule for rule, _, _ in BAD} == set(tidy.RULES)


GOOD: list[tuple[str, str]] = [
    ("zbuild/worker/core.py", '"""A core."""\n\nfrom zbuild.protocol.codec import decode\nfrom zbuild import limits\n'),
    ("zbuild/transport/sockets.py", '"""Sockets."""\n\nimport zmq\n'),
    (
        "zbuild/log.py",
        '"""The log."""\n\nx = 1  # type: ignore[misc]  # the stub is wrong\ny = 1  # noqa: E501  # a URL\n',
    ),
    ("zbuild/log.py", '"""The log."""\n\nsubprocess.run(["true"], shell=False)\n'),
    ("zbuild/limits.py", '"""Bounds."""\n\nMAX_PEERS = 1024\n'),
    ("zbuild/model/__init__.py", ""),
]


@pytest.mark.parametrize(("path", "text"), GOOD)
def test_rules_let_pass(path: str, text: str) -> None:
    assert [problem for rule in tidy.RULES for problem in rule(Source(path, text))] == []


def test_a_core_answers_for_what_it_imports_of_its_package() -> None:
    siblings: dict[str, Source] = {}
    for path, text in (
        ("zbuild/worker/core.py", "from zbuild.worker.slots import Slots\n"),
        ("zbuild/worker/slots.py", "from zbuild.worker import queue\n"),
        ("zbuild/worker/queue.py", "import time\n"),
        ("zbuild/worker/agent.py", "import time\n"),
    ):
        source = Source(path, text, siblings)
        siblings[source.module] = source
    (problem,) = tidy.cores_are_pure(siblings["zbuild.worker.core"])
    assert "zbuild/worker/queue.py" in problem


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*.toml")), ids=lambda path: path.name)
def test_every_key_of_a_configuration_is_explained(path: Path) -> None:
    assert list(tidy.undocumented_keys(path.read_text())) == []


def test_an_unexplained_key_is_seen() -> None:
    assert list(tidy.undocumented_keys("# The port.\nport = 1\n\nhost = 'h'\n")) == ["host"]


def test_each_defect_of_the_original_owns_a_test() -> None:
    """Tests name them: ``..._as_in_defect_3``, ``..._as_in_defects_4_and_5``."""
    names = re.findall(r"def test_\w+_as_in_defects?_(\w+)\(", "".join(source.text for source in SOURCES.values()))
    assert {int(number) for name in names for number in name.split("_and_")} == set(range(1, DEFECTS + 1))


def test_entry_points_exist() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    for name, target in scripts.items():
        module, _, function = target.partition(":")
        defined = [node.name for node in SOURCES[module].tree.body if isinstance(node, ast.FunctionDef)]
        assert function in defined, f"{name} is to run {target}"
        assert os.access(ROOT / "bin" / name, os.X_OK), f"bin/{name} cannot be executed"


def unknown_commands(readme: str) -> Iterator[str]:
    """Commands in the README's code that this repository does not have."""
    code = "\n".join(
        re.findall(r"^```\w*\n(.*?)^```", readme, re.DOTALL | re.MULTILINE) + re.findall(r"`([^`\n]+)`", readme)
    )
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    words = {
        node.value
        for module, source in SOURCES.items()
        if module.startswith("zbuild.cli")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    for path in re.findall(r"(?<![\w/.-])((?:bin|conf|\.ci)/[\w.-]+)", code):
        if not (ROOT / path).exists():
            yield path
    for module in re.findall(r"python3? -m ((?:zbuild|tests)[\w.]*)", code):
        if module not in SOURCES:
            yield f"python -m {module}"
    for target in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE):
        if target not in targets:
            yield f"make {target}"
    for command in re.findall(r"(?:^|\s|/)zbuild ([a-z]+)\b", code):
        if command not in words:
            yield f"zbuild {command}"


def test_the_commands_of_the_readme_exist() -> None:
    assert list(unknown_commands((ROOT / "README.md").read_text())) == []


def test_unknown_commands_are_seen() -> None:
    readme = "```sh\nbin/nothing\nmake nothing\npython -m tests.nothing\nbin/zbuild nothing\n```\n`conf/nothing.toml`\n"
    assert set(unknown_commands(readme)) == {
        "bin/nothing",
        "make nothing",
        "python -m tests.nothing",
        "zbuild nothing",
        "conf/nothing.toml",
    }
