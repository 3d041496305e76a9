"""What ``zbuild doctor`` makes of a machine's facts: for each a verdict, and how to mend it. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from zbuild.limits import GIB, KIB, SCARCE_DISK_BYTES, SCARCE_INODES, SCARCE_MEMORY_BYTES, SPAWNS_RUNNING
from zbuild.sandbox.limit_mechanism import LimitChoice, LimitMechanism

Version = tuple[int, ...]

_DESCRIPTORS = 5 * SPAWNS_RUNNING + KIB
"""Five for each command that a spawner runs at once, and as many sockets and files as a build usually has."""


class Verdict(enum.Enum):
    """How serious it is. Only FAIL keeps zbuild from working."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``fix``: what to do; empty when there is nothing to do."""

    name: str
    verdict: Verdict
    said: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found.

    Attributes:
        packages: distribution -> version of those that zbuild imports; "" for one that is not there.
        libzmq: the library's version; empty when it cannot be loaded.
        bubblewrap: what ``bwrap --version`` says; empty when there is none.
        sandbox_error: why the hermetic sandbox does not work, with the remedy; empty when it works.
        sysctls: name -> value of the switches for user namespaces that exist here.
        has_seccomp: the kernel filters system calls.
        process_error: why level process does not work; empty when it works.
        limits: by what the limits of actions would be enforced, were this process a worker.
        open_files: the soft limit of this process.
        cache_dir: where blobs are kept. cache_error: why they cannot be; empty when they can.
        free_bytes, free_inodes: of its file system. No ``inodes`` means that it makes them as it needs them.
        has_hard_links: files there can have two names. has_reflinks: they can share their blocks.
        broker: the broker that was named; empty for none. broker_error: why it does not answer.
        tools: name -> path of the tools that builds need; "" for one that is not there.
    """

    python: Version
    packages: Mapping[str, str]
    libzmq: Version
    bubblewrap: str
    sandbox_error: str
    sysctls: Mapping[str, str] = field(default_factory=dict)
    has_seccomp: bool
    process_error: str
    limits: LimitChoice
    memory_bytes: int
    open_files: int
    cache_dir: str
    cache_error: str
    free_bytes: int
    inodes: int
    free_inodes: int
    has_hard_links: bool
    has_reflinks: bool
    broker: str
    broker_error: str
    tools: Mapping[str, str]


_LEAST_PYTHON: Version = (3, 11)

_KNOWN_BAD: dict[str, tuple[tuple[Version, Verdict, str], ...]] = {
    "msgpack": (
        ((1, 2, 1), Verdict.FAIL, "an Unpacker that is used again after an error crashes (CVE-2026-57585)"),
        ((1, 2, 4), Verdict.WARN, "unpacking after an incomplete skip() crashes"),
    ),
    "gevent": (((25, 9), Verdict.WARN, "not tested with it"),),
    "pyzmq": (((27,), Verdict.WARN, "not tested with it"),),
    "msgspec": (((0, 20), Verdict.WARN, "not tested with it"),),
    "blake3": (((1, 0), Verdict.WARN, "not tested with it"),),
    "python-prctl": (((1, 8, 1), Verdict.WARN, "not tested with it"),),
}
"""Package -> versions below which something is wrong, worst first: pyproject.toml, and ``pip index versions``."""

_BAD_LIBZMQ: tuple[tuple[Version, str], ...] = (
    ((4, 3, 2), "anybody who can connect can overflow its stack (CVE-2019-13132)"),
    ((4, 3, 3), "one raw TCP connection keeps others from connecting (CVE-2020-15166)"),
)


def checks(facts: Facts) -> list[Check]:
    """The report, in the order in which it is read."""
    return [
        _python(facts),
        *_packages(facts),
        _libzmq(facts),
        _bubblewrap(facts),
        _sandbox(facts),
        *_sysctls(facts),
        _seccomp(facts),
        _process(facts),
        _limits(facts),
        _memory(facts),
        _open_files(facts),
        *_cache(facts),
        *_broker(facts),
        *_tools(facts),
    ]


def worst(found: list[Check]) -> Verdict:
    """The verdict on the machine."""
    order = list(Verdict)
    return max((check.verdict for check in found), key=order.index, default=Verdict.OK)


def version_of(text: str) -> Version:
    """The numbers at the beginning: (1, 2, 4) of ``1.2.4rc1``."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def _python(facts: Facts) -> Check:
    said = ".".join(map(str, facts.python))
    if facts.python < _LEAST_PYTHON:
        return Check("python", Verdict.FAIL, said, "install Python 3.11 or later")
    return Check("python", Verdict.OK, said)


def _packages(facts: Facts) -> Iterator[Check]:
    for name, version in facts.packages.items():
        if not version:
            yield Check(name, Verdict.FAIL, "not installed", f"pip install {name}")
            continue
        for least, verdict, reason in _KNOWN_BAD.get(name, ()):
            if version_of(version) < least:
                wanted = ".".join(map(str, least))
                yield Check(name, verdict, f"{version}: {reason}", f"pip install '{name}>={wanted}'")
                break
        else:
            yield Check(name, Verdict.OK, version)


def _libzmq(facts: Facts) -> Check:
    fix = "install pyzmq from its wheel, which has a newer one"
    if not facts.libzmq:
        return Check("libzmq", Verdict.FAIL, "pyzmq does not start", fix)
    said = ".".join(map(str, facts.libzmq))
    for least, reason in _BAD_LIBZMQ:
        if facts.libzmq < least:
            return Check("libzmq", Verdict.FAIL, f"{said}: {reason}", fix)
    return Check("libzmq", Verdict.OK, said)


def _bubblewrap(facts: Facts) -> Check:
    if not facts.bubblewrap:
        return Check("bubblewrap", Verdict.FAIL, "not installed", "apt-get install bubblewrap")
    return Check("bubblewrap", Verdict.OK, facts.bubblewrap)


def _sandbox(facts: Facts) -> Check:
    if facts.sandbox_error:
        said, _, fix = facts.sandbox_error.partition("\n")
        return Check("hermetic sandbox", Verdict.FAIL, said, fix or "see the check of bubblewrap")
    return Check("hermetic sandbox", Verdict.OK, "a command has run in it")


def _sysctls(facts: Facts) -> Iterator[Check]:
    """Only what is set against ordinary users: the sandbox may work here nevertheless, as it does for root."""
    closed = {
        "kernel.unprivileged_userns_clone": ("0", "1"),
        "user.max_user_namespaces": ("0", "63359"),
        "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    }
    found = [name for name, (value, _) in closed.items() if facts.sysctls.get(name) == value]
    for name in found:
        fix = f"as root: sysctl -w {name}={closed[name][1]}"
        yield Check("user namespaces", Verdict.WARN, f"{name} keeps them from ordinary users", fix)
    if not found:
        yield Check("user namespaces", Verdict.OK, "no sysctl forbids them")


def _seccomp(facts: Facts) -> Check:
    if not facts.has_seccomp:
        fix = "use a kernel with CONFIG_SECCOMP_FILTER, as all distributions have"
        return Check("seccomp", Verdict.FAIL, "the kernel filters no system calls", fix)
    return Check("seccomp", Verdict.OK, "the kernel filters system calls")


def _process(facts: Facts) -> Check:
    if facts.process_error:
        said, _, fix = facts.process_error.partition("; ")
        return Check("level process", Verdict.WARN, said, fix)
    return Check("level process", Verdict.OK, "setpriv and prlimit are there")


def _limits(facts: Facts) -> Check:
    choice = facts.limits
    said = f"{choice.mechanism.value} enforces them"
    if choice.reasons:
        said += f" ({'; '.join(choice.reasons)})"
    if choice.mechanism is LimitMechanism.WATCH:
        fix = "run workers where they may make control groups: in a systemd unit with Delegate=yes, or as root"
        return Check("limits", Verdict.WARN, f"{said}: memory and processes are seen 0.1 s late", fix)
    if "cpuset" not in choice.directories:
        fix = "delegate the cpuset controller, too: Delegate=cpuset memory pids"
        return Check("limits", Verdict.WARN, f"{said}, without cpuset: a command can leave its processors", fix)
    return Check("limits", Verdict.OK, said)


def _memory(facts: Facts) -> Check:
    said = f"{facts.memory_bytes / GIB:.1f} GiB"
    if facts.memory_bytes < SCARCE_MEMORY_BYTES:
        return Check("memory", Verdict.WARN, said, "run few actions at once here: --parallelism 1")
    return Check("memory", Verdict.OK, said)


def _open_files(facts: Facts) -> Check:
    said = f"{facts.open_files} open files"
    if facts.open_files < _DESCRIPTORS:
        fix = f"raise the limit: ulimit -n {_DESCRIPTORS}, or LimitNOFILE={_DESCRIPTORS} in a unit"
        return Check("nofile", Verdict.WARN, said, fix)
    return Check("nofile", Verdict.OK, said)


def _cache(facts: Facts) -> Iterator[Check]:
    if facts.cache_error:
        yield Check("cache directory", Verdict.FAIL, facts.cache_error, "name another one with --cache-dir")
        return
    said = f"{facts.cache_dir}: {facts.free_bytes / GIB:.1f} GiB free"
    elsewhere = "free some, or name another disk with --cache-dir"
    verdict = Verdict.WARN if facts.free_bytes < SCARCE_DISK_BYTES else Verdict.OK
    yield Check("disk space", verdict, said, elsewhere if verdict is Verdict.WARN else "")
    if facts.inodes:
        verdict = Verdict.WARN if facts.free_inodes < SCARCE_INODES else Verdict.OK
        said = f"{facts.free_inodes} of {facts.inodes} inodes free"
        yield Check("inodes", verdict, said, elsewhere if verdict is Verdict.WARN else "")
    if not facts.has_hard_links:
        fix = "keep the cache on a file system with hard links, such as ext4, xfs, btrfs or tmpfs"
        yield Check("blob files", Verdict.FAIL, "no hard links: inputs cannot be staged", fix)
    else:
        yield Check("blob files", Verdict.OK, f"hard links, {'and' if facts.has_reflinks else 'no'} reflinks")


def _broker(facts: Facts) -> Iterator[Check]:
    if not facts.broker:
        return
    if facts.broker_error:
        fix = "see that zbuild-broker runs there, that its --host is not 127.0.0.1, and that its ports are open"
        yield Check("broker", Verdict.FAIL, facts.broker_error, fix)
    else:
        yield Check("broker", Verdict.OK, f"{facts.broker} answers")


def _tools(facts: Facts) -> Iterator[Check]:
    missing = [name for name, path in facts.tools.items() if not path]
    for name in missing:
        yield Check("toolchain", Verdict.WARN, f"no {name}", f"install {name}, if the projects here need it")
    if not missing:
        yield Check("toolchain", Verdict.OK, ", ".join(facts.tools.values()))
