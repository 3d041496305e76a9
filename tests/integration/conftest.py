"""Fixtures of the tests that run real processes."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.farm import Farm, running_farm
from tests.integration.sandbox_driver import Slot
from tests.integration.tree import Tree
from zbuild.sandbox.spawner import Spawner, start_spawner


@pytest.fixture(scope="session")
def shared_farm() -> Iterator[Farm]:
    """A farm of two workers for the tests that do nothing to it."""
    with tempfile.TemporaryDirectory(prefix="f-") as directory, running_farm(Path(directory)) as running:
        yield running


@pytest.fixture
def tree(tmp_path: Path, shared_farm: Farm) -> Tree:
    """An empty tree whose builds run on the farm of the test run, which spares each of them the start of one."""
    made = Tree(tmp_path / "tree")
    made.farm_flags = ["--coordinator", shared_farm.endpoint]
    return made


@pytest.fixture
def embedded_tree(tmp_path: Path) -> Tree:
    """An empty tree whose builds start a farm of their own and use the cache of the test run."""
    return Tree(tmp_path / "tree")


@pytest.fixture
def token() -> str:
    """A number that no other test has: in a source file, it keeps the cache from having it built already."""
    return str(uuid.uuid4().int % 10**9)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for the name of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="f-") as directory:
        yield Path(directory)


@pytest.fixture
def farm(short_path: Path) -> Iterator[Farm]:
    """A broker on TCP loopback and two workers of two slots."""
    with running_farm(short_path / "farm", is_tcp=True) as running:
        yield running


@pytest.fixture
def spawner() -> Iterator[Spawner]:
    """One without a worker."""
    spawner = start_spawner()
    yield spawner
    spawner.close()


@pytest.fixture
def slot(spawner: Spawner, tmp_path: Path) -> Slot:
    """A place to run actions in, by that spawner."""
    return Slot(spawner, tmp_path)
