"""What ``zbuild doctor`` says of machines that lack one thing each."""

from __future__ import annotations

import dataclasses

import pytest

from zbuild.cli.doctor_checks import Check, Facts, Verdict, checks, version_of, worst
from zbuild.limits import GIB
from zbuild.sandbox.limit_mechanism import LimitChoice, LimitMechanism

SOUND = Facts(
    python=(3, 11, 7),
    packages={"msgpack": "1.2.4", "gevent": "25.9.1", "pyzmq": "27.1.0"},
    libzmq=(4, 3, 5),
    bubblewrap="bubblewrap 0.8.0",
    sandbox_error="",
    sysctls={"kernel.unprivileged_userns_clone": "1", "user.max_user_namespaces": "95000"},
    has_seccomp=True,
    process_error="",
    limits=LimitChoice(LimitMechanism.CGROUP_V2, dict.fromkeys(("memory", "pids", "cpuset"), "/g")),
    memory_bytes=16 * GIB,
    open_files=20_000,
    cache_dir="/home/u/.cache/zbuild",
    cache_error="",
    free_bytes=100 * GIB,
    inodes=10**7,
    free_inodes=10**6,
    has_hard_links=True,
    has_reflinks=False,
    broker="tcp://broker:9000",
    broker_error="",
    tools={"cc": "/usr/bin/cc"},
)
NO_NAMESPACES = "the hermetic sandbox does not work here: bwrap: No permissions\nas root: sysctl -w x=1"


def verdicts(facts: Facts) -> list[Check]:
    """What is not as it should be."""
    return [check for check in checks(facts) if check.verdict is not Verdict.OK]


def test_a_sound_machine_has_nothing_to_mend() -> None:
    assert verdicts(SOUND) == []
    assert all(not check.fix for check in checks(SOUND))
    assert worst(checks(SOUND)) is Verdict.OK


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "fix"),
    [
        ({"python": (3, 10, 2)}, "python", Verdict.FAIL, "Python 3.11"),
        ({"packages": {"msgpack": "1.2.0"}}, "msgpack", Verdict.FAIL, "msgpack>=1.2.1"),
        ({"packages": {"msgpack": "1.2.2"}}, "msgpack", Verdict.WARN, "msgpack>=1.2.4"),
        ({"packages": {"gevent": "24.2.1"}}, "gevent", Verdict.WARN, "gevent>=25.9"),
        ({"packages": {"blake3": ""}}, "blake3", Verdict.FAIL, "pip install blake3"),
        ({"libzmq": (4, 3, 1)}, "libzmq", Verdict.FAIL, "pyzmq"),
        ({"libzmq": (4, 3, 2)}, "libzmq", Verdict.FAIL, "pyzmq"),
        ({"libzmq": ()}, "libzmq", Verdict.FAIL, "pyzmq"),
        ({"bubblewrap": ""}, "bubblewrap", Verdict.FAIL, "apt-get install bubblewrap"),
        ({"sandbox_error": NO_NAMESPACES}, "hermetic sandbox", Verdict.FAIL, "as root: sysctl -w x=1"),
        (
            {"sysctls": {"kernel.apparmor_restrict_unprivileged_userns": "1"}},
            "user namespaces",
            Verdict.WARN,
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"has_seccomp": False}, "seccomp", Verdict.FAIL, "CONFIG_SECCOMP_FILTER"),
        ({"process_error": "it needs prlimit; install it"}, "level process", Verdict.WARN, "install it"),
        ({"limits": LimitChoice(LimitMechanism.WATCH, {}, ("why",))}, "limits", Verdict.WARN, "Delegate=yes"),
        (
            {"limits": LimitChoice(LimitMechanism.CGROUP_V1, {"memory": "/m", "pids": "/p"})},
            "limits",
            Verdict.WARN,
            "cpuset",
        ),
        ({"memory_bytes": GIB}, "memory", Verdict.WARN, "--parallelism 1"),
        ({"open_files": 1024}, "nofile", Verdict.WARN, "ulimit -n"),
        ({"cache_error": "/x cannot be used: Read-only"}, "cache directory", Verdict.FAIL, "--cache-dir"),
        ({"free_bytes": GIB}, "disk space", Verdict.WARN, "--cache-dir"),
        ({"free_inodes": 10}, "inodes", Verdict.WARN, "--cache-dir"),
        ({"has_hard_links": False}, "blob files", Verdict.FAIL, "hard links"),
        ({"broker_error": "no broker has answered"}, "broker", Verdict.FAIL, "zbuild-broker"),
        ({"tools": {"cc": "", "ninja": "/usr/bin/ninja"}}, "toolchain", Verdict.WARN, "install cc"),
    ],
)
def test_each_lack_is_named_and_can_be_mended(
    changes: dict[str, object], name: str, verdict: Verdict, fix: str
) -> None:
    (check,) = verdicts(dataclasses.replace(SOUND, **changes))  # type: ignore[arg-type]  # fields of Facts, by name
    assert (check.name, check.verdict) == (name, verdict)
    assert fix in check.fix


def test_why_no_stronger_mechanism_is_in_force_is_told() -> None:
    facts = dataclasses.replace(SOUND, limits=LimitChoice(LimitMechanism.WATCH, {}, ("cgroup v2 is not mounted",)))
    assert "cgroup v2 is not mounted" in verdicts(facts)[0].said


def test_a_file_system_that_makes_inodes_as_it_needs_them_is_not_short_of_them() -> None:
    assert verdicts(dataclasses.replace(SOUND, inodes=0, free_inodes=0)) == []


def test_without_a_broker_none_is_asked_for() -> None:
    assert not any(check.name == "broker" for check in checks(dataclasses.replace(SOUND, broker="")))


def test_the_worst_verdict_is_that_of_the_machine() -> None:
    warned = Check("a", Verdict.WARN, "")
    assert worst([warned, Check("b", Verdict.OK, "")]) is Verdict.WARN
    assert worst([Check("c", Verdict.FAIL, ""), warned]) is Verdict.FAIL


@pytest.mark.parametrize(
    ("text", "version"), [("1.2.4", (1, 2, 4)), ("27.1.0rc1", (27, 1, 0)), ("2.0.post1", (2, 0)), ("x", ())]
)
def test_versions_as_numbers(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version
