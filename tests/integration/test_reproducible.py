"""The same actions on two workers that have nothing in common but their tools."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration import reproducible_actions
from tests.integration.farm import running_farm
from tests.integration.sandbox_driver import BUILD, Slot
from tests.integration.tree import Run, Tree
from zbuild.sandbox.spawner import start_spawner

pytestmark = [pytest.mark.needs("bubblewrap", "gcc", "root"), pytest.mark.timeout(300)]

SLICE = 50
"""Actions of one build: on a busy machine two hundred take longer than one run may."""


class Machine(NamedTuple):
    """How a worker is set up. ``directory``: where it and its client have everything."""

    directory: str
    umask: str
    hostname: str
    groups: str
    limits: str
    environment: Mapping[str, str]

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that runs the one in its arguments so, in a UTS namespace of its own."""
        words = [f"{name}={value}" for name, value in self.environment.items()]
        script = f'umask {self.umask}; {self.limits}; hostname {self.hostname}; exec "$@"'
        return ("unshare", "--uts", "setpriv", "--groups", self.groups, "env", *words, "sh", "-c", script, "sh")


HERE = Machine(
    "here",
    "0022",
    "here",
    "0",
    "ulimit -S -c 0; ulimit -S -s 4096; ulimit -S -n 1024",
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "USER": "one", "PYTHONHASHSEED": "1"},
)
ELSEWHERE = Machine(
    "a/far/longer/way/down",
    "0077",
    "elsewhere.example",
    "4,24,27",
    "ulimit -c unlimited; ulimit -S -s 16384; ulimit -S -n 6000",
    {
        "TZ": "America/St_Johns",
        "LC_ALL": "C.UTF-8",
        "LANG": "POSIX",
        "LANGUAGE": "de",
        "USER": "two",
        "CFLAGS": "-O3",
        "CPATH": "/usr/share",
        "GZIP": "-1",
        "TAR_OPTIONS": "--mtime=@5",
        "ZERO_AR_DATE": "1",
        "SOURCE_DATE_EPOCH": "77",
        "PERL_HASH_SEED": "5",
        "MAKEFLAGS": "-j9",
        "POSIXLY_CORRECT": "1",
    },
)


def built_on(machine: Machine, directory: Path) -> tuple[list[Run], dict[str, str]]:
    """All sample actions, and what came of each: output -> digest."""
    home = directory / machine.directory / "home"
    home.mkdir(parents=True)
    tree = Tree(directory / machine.directory / "checkout")
    tree.environment |= {"HOME": str(home), "TZ": machine.environment["TZ"], "LC_ALL": machine.environment["LC_ALL"]}
    tree.write(reproducible_actions.SOURCES)
    (tree.build / "build.ninja").write_text(reproducible_actions.manifest())
    names = [action.name for action in reproducible_actions.actions()]
    with running_farm(directory / machine.hostname, workers=0) as farm:
        farm.start_worker("only", 2, prefix=("env", f"HOME={home}", *machine.prefix)).wait_for("event=welcome")
        tree.farm_flags = ["--coordinator", farm.endpoint, "-k0"]
        runs = [tree.zbuild(*names[start : start + SLICE]) for start in range(0, len(names), SLICE)]
    return runs, {name: digest_of(tree.build / name) for name in names}


def digest_of(path: Path) -> str:
    """Of the content and of whether it can be executed; of a symlink its target."""
    if path.is_symlink():
        return os.readlink(path)
    return f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mode & 0o100:o}"


def test_two_hundred_actions_do_not_show_where_they_ran(short_path: Path) -> None:
    digests = []
    for machine in (HERE, ELSEWHERE):
        runs, made = built_on(machine, short_path)
        assert [run.exit_code for run in runs] == [0] * len(runs), [run.stderr for run in runs]
        assert sum(run.summary["executed"] for run in runs) == len(made) >= 200
        assert all(run.all_remote for run in runs), [run.summary["local_reasons"] for run in runs]
        digests.append(made)

    assert digests[0] == digests[1]


def test_every_time_that_an_action_sees_is_one(tmp_path: Path) -> None:
    spawner = start_spawner()
    try:
        slot = Slot(spawner, tmp_path)
        files = {"/zb/src/a": b"", f"{BUILD}/b": b"", f"{BUILD}/sub/c": b""}
        paths = "/zb/src/a b sub/c /zb /zb/src . sub /etc /etc/passwd /etc/alternatives"
        assert slot.text(f"stat -c %Y {paths}; touch x; mkdir y", files=files) == "946684800\n" * 10
        assert slot.text("stat -c %Y /zb /zb/src .; ls") == "946684800\n" * 3, "nor does it show the action before"
    finally:
        spawner.close()
