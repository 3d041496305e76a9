"""By what limits are enforced, on machines of every kind."""

from __future__ import annotations

import pytest

from zbuild.sandbox.limit_mechanism import CgroupFacts, LimitChoice, LimitMechanism, choices, own_groups

V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = """31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
38 31 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
SLICE = "/sys/fs/cgroup/system.slice/zbuild-worker.service"
V2 = CgroupFacts(
    directories={"": SLICE},
    controllers=frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
    writable=frozenset({SLICE}),
)
V1 = CgroupFacts(directories={"memory": "/m", "pids": "/p", "cpuset": "/c"}, writable=frozenset({"/m", "/p", "/c"}))


def first(facts: CgroupFacts) -> LimitChoice:
    return choices(facts)[0]


def test_where_a_process_is_under_version_2() -> None:
    membership = "0::/system.slice/zbuild-worker.service\n"
    assert own_groups(V2_MOUNT, membership) == {"": SLICE}


def test_where_a_process_is_under_version_1() -> None:
    membership = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n3:cpu,cpuacct:/docker/x/y\n2:freezer:/z\n0::/\n"
    assert own_groups(V1_MOUNTS, membership) == {
        "memory": "/sys/fs/cgroup/memory/a/b",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/y",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/y",
        "pids": "/sys/fs/cgroup/pids",
        "": "/sys/fs/cgroup/unified",
    }


def test_a_group_outside_the_mount_is_seen_as_the_mount() -> None:
    """In a container without a cgroup namespace the path is the host's."""
    assert own_groups(V1_MOUNTS, "3:cpu,cpuacct:/other\n")["cpu"] == "/sys/fs/cgroup/cpu,cpuacct"


def test_a_delegated_group_of_version_2_comes_first() -> None:
    choice = first(V2)
    assert choice == LimitChoice(LimitMechanism.CGROUP_V2, dict.fromkeys(("memory", "pids", "cpuset"), SLICE))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"controllers": frozenset({"memory", "cpu"})}, "does not have the controllers pids"),
        ({"writable": frozenset()}, "is not delegated to this user; start the worker in a unit with Delegate=yes"),
        ({"has_others": True}, f"other processes are in {SLICE}; give the worker a unit of its own"),
        ({"directories": {}}, "cgroup v2 is not mounted"),
    ],
)
def test_without_delegation_the_watch_says_why_it_is_in_force(changes: dict[str, object], reason: str) -> None:
    fields: dict[str, object] = {
        "directories": V2.directories, "controllers": V2.controllers, "writable": V2.writable
    }  # fmt: skip  # one line is enough
    choice = first(CgroupFacts(**(fields | changes)))  # type: ignore[arg-type]  # the fields above, by name
    assert choice.mechanism is LimitMechanism.WATCH
    assert reason in choice.reasons[0]
    assert choice.reasons[1] == "cgroup v1: no memory and no pids controller is mounted"


def test_version_1_where_version_2_has_no_controllers() -> None:
    facts = CgroupFacts({**V1.directories, "": "/u"}, frozenset({"hugetlb"}), V1.writable)
    choice = first(facts)
    assert (choice.mechanism, choice.directories) == (LimitMechanism.CGROUP_V1, V1.directories)
    assert choice.reasons == ("cgroup v2: /u does not have the controllers memory, pids",)


def test_a_cpuset_that_cannot_be_written_is_done_without() -> None:
    assert "cpuset" not in first(CgroupFacts(V1.directories, writable=frozenset({"/m", "/p"}))).directories


def test_an_ordinary_user_under_version_1_gets_the_watch() -> None:
    choice = first(CgroupFacts(V1.directories))
    assert choice.mechanism is LimitMechanism.WATCH
    assert "cgroup v1: /m and /p cannot be written by this user" in choice.reasons


def test_what_fails_when_it_is_tried_has_the_next_behind_it() -> None:
    both = CgroupFacts(V2.directories | V1.directories, V2.controllers, V2.writable | V1.writable)
    assert [choice.mechanism for choice in choices(both)] == list(LimitMechanism)
