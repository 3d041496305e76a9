"""The hermetic sandbox: bubblewrap's command line, and the proof that it works here.

Measured on two cores, per command, CPU time of the whole machine: /bin/true alone 0.7 ms, in this sandbox
5 ms. Each mount costs 0.05 to 0.15 ms of that, the network namespace 0.8 ms. Hence one read-only mount for
all inputs below a common top directory, one for /etc, and three devices instead of bubblewrap's --dev, which
mounts eight times. The namespaces are private to each action: sharing a network namespace would let two
actions pass descriptors through abstract sockets (CVE-2024-27297).
"""

from __future__ import annotations

import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping

import prctl

from zbuild.errors import SandboxUnavailable
from zbuild.limits import SANDBOX_PROBE_S
from zbuild.model.capabilities import Capabilities
from zbuild.sandbox.seccomp import filter_path
from zbuild.sandbox.shell_command import without_shell
from zbuild.sandbox.spec import HOME_PATH, SandboxLevel, SandboxSpec, SystemPath
from zbuild.sandbox.system import GROUP_ID, USER_ID

STATUS_DESCRIPTOR = 3
"""Where bubblewrap reports its child's PID and, if the command could be started, its exit code."""

FILTER_DESCRIPTOR = 4
"""Where bubblewrap reads the system call filter. Without it bubblewrap fails, so that no command is ever without."""

RELEASE_DESCRIPTOR = 5
"""What a held sandbox, with all its walls up, waits for to be readable before it runs its command."""

PROGRAM_PATH = "/usr/local/bin:/usr/bin:/bin"

_WALLS = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup",
    "--uid",
    str(USER_ID),
    "--gid",
    str(GROUP_ID),
    "--hostname",
    "zbuild",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--json-status-fd",
    str(STATUS_DESCRIPTOR),
    "--seccomp",
    str(FILTER_DESCRIPTOR),
)
"""--unshare-all would let a refused user namespace pass in silence."""

_DEVICES = {
    "/dev/null": os.makedev(1, 3),
    "/dev/zero": os.makedev(1, 5),
    "/dev/urandom": os.makedev(1, 9),
}
"""admin-guide/devices.txt of Linux."""

FIRST_PROCESS_MASK = ("--tmpfs", "/proc/1", "--remount-ro", "/proc/1")
"""Hides the table of descriptors of the sandbox's PID 1, which is bubblewrap's own. It forks the command, gives up its
capabilities, and only then closes the worker's /proc: between the last two steps a command could take it (the shape of
CVE-2024-21626). By way of ptrace the filter refuses it."""

_KERNEL_FILE_SYSTEMS = (
    "--proc",
    "/proc",
    *FIRST_PROCESS_MASK,
    "--dir",
    "/dev",
    *(word for path in _DEVICES for word in ("--dev-bind", path, path)),
    "--symlink",
    "urandom",
    "/dev/random",
    "--symlink",
    "/proc/self/fd",
    "/dev/fd",
    "--symlink",
    "fd/0",
    "/dev/stdin",
    "--symlink",
    "fd/1",
    "/dev/stdout",
    "--symlink",
    "fd/2",
    "/dev/stderr",
    "--symlink",
    "/tmp",
    "/dev/shm",
)

_TELLING = ("/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/timer_list")
"""What tells of the host's processes and keys, and needs no capability; /dev/null is mounted over each that this user
could read, and cannot be opened there. /proc/kcore needs CAP_SYS_RAWIO, and all of /proc is read-only."""

SYSCTLS = (
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
)


def bubblewrap_argv(spec: SandboxSpec) -> list[str]:
    """The command line for a HERMETIC spec. The first element is ``bwrap``, to be looked up by the caller.

    The environment is set by options, so that bubblewrap itself runs without any: a variable such as
    LD_PRELOAD, taken from an action, must not reach a process outside the sandbox.
    """
    argv = ["bwrap", *_WALLS]
    if not spec.capabilities.network:
        argv.append("--unshare-net")
    for system_path in spec.system:
        if system_path.link_target:
            argv += ("--symlink", system_path.link_target, system_path.path)
        else:
            argv += ("--ro-bind", system_path.source, system_path.path)
    argv += _KERNEL_FILE_SYSTEMS
    for path in _masked():
        argv += ("--ro-bind", "/dev/null", path)
    argv += _granted(spec.capabilities, spec.private_bytes)
    for path in spec.read_only_paths:
        argv += ("--ro-bind", spec.stage_root + path, path)
    argv += ("--bind", spec.stage_root + spec.writable_root, spec.writable_root)
    argv += ("--remount-ro", "/", "--remount-ro", "/proc", "--chdir", spec.working_directory)
    environment = spec.full_environment()
    for name, value in environment.items():
        argv += ("--setenv", name, value)
    argv.append("--")
    argv += without_shell(spec.arguments, environment)
    return argv


def _granted(capabilities: Capabilities, private_bytes: int) -> list[str]:
    """The directories that only some actions have. What is not granted does not exist, but for an empty /tmp."""
    options: list[str] = []
    size = ("--size", str(private_bytes)) if private_bytes else ()
    if capabilities.write_tmp:
        options += ("--perms", "1777", *size, "--tmpfs", "/tmp")
    else:
        options += ("--dir", "/tmp")
    if capabilities.write_home:
        options += (*size, "--tmpfs", HOME_PATH)
    for path in capabilities.read_paths:
        options += ("--ro-bind", path, path)
    for path in capabilities.write_paths:
        options += ("--bind", path, path)
    return options


def host_files() -> tuple[str, ...]:
    """Files of the worker's machine that the processes of every sandbox can get hold of: see own_mounts."""
    return tuple(_DEVICES)


@functools.cache
def _masked() -> tuple[str, ...]:
    return tuple(path for path in _TELLING if os.access(path, os.R_OK))


def find_bubblewrap() -> str:
    """The path of ``bwrap``.

    Raises:
        SandboxUnavailable: it is not installed.
    """
    path = shutil.which("bwrap", path=PROGRAM_PATH)
    if path is None:
        raise SandboxUnavailable(
            "the hermetic sandbox needs bubblewrap, and there is no bwrap in "
            f"{PROGRAM_PATH.replace(':', ', ')}; install it with: apt-get install bubblewrap"
        )
    return path


def probe(system: tuple[SystemPath, ...], directory: str) -> None:
    """Run ``true`` in the sandbox, with ``directory`` (where the stages will lie) as its tree.

    Raises:
        SandboxUnavailable: it did not run. The message has bubblewrap's words and the way to mend it.
    """
    executable = find_bubblewrap()
    spec = SandboxSpec(
        level=SandboxLevel.HERMETIC,
        stage_root=os.path.dirname(os.path.abspath(directory)),
        read_only_paths=(),
        writable_root="/" + os.path.basename(os.path.abspath(directory)),
        working_directory="/",
        arguments=("/usr/bin/true",),
        environment=(),
        stdout_path="",
        stderr_path=None,
        capabilities=Capabilities(timeout_s=SANDBOX_PROBE_S),
        system=system,
    )
    _check_devices()
    if os.geteuid() == 0 and not prctl.cap_effective.sys_admin:
        raise SandboxUnavailable(
            "the hermetic sandbox of a worker that runs as root needs CAP_SYS_ADMIN; run it as an ordinary user instead"
        )
    filter_descriptor = os.open(filter_path(), os.O_RDONLY | os.O_CLOEXEC)
    reader, writer = os.pipe()
    argv = bubblewrap_argv(spec)
    argv[argv.index("--json-status-fd") + 1] = str(writer)
    argv[argv.index("--seccomp") + 1] = str(filter_descriptor)
    try:
        done = subprocess.run(
            argv,
            executable=executable,
            env={},
            cwd="/",
            pass_fds=(writer, filter_descriptor),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SANDBOX_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"the hermetic sandbox does not start: {error}") from error
    finally:
        for descriptor in (reader, writer, filter_descriptor):
            os.close(descriptor)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-500:] or f"exit code {done.returncode}"
        raise SandboxUnavailable(f"the hermetic sandbox does not work here: {said}\n{remedy(said, _read_sysctls())}")


def _check_devices() -> None:
    """What is shown as a device must be one: a /dev/null that was replaced would show its replacement (CVE-2025-31133).

    Raises:
        SandboxUnavailable: naming one that is something else.
    """
    for path, number in _DEVICES.items():
        try:
            status = os.lstat(path)
        except OSError as error:
            raise SandboxUnavailable(f"the hermetic sandbox needs {path}: {error.strerror}") from error
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != number:
            major, minor = os.major(number), os.minor(number)
            raise SandboxUnavailable(f"{path} is not the character device {major}:{minor}; make it anew with mknod")


def remedy(said: str, sysctls: Mapping[str, str]) -> str:
    """How to mend what made bubblewrap fail.

    Args:
        said: bubblewrap's stderr.
        sysctls: the values of those files of SYSCTLS that exist here.
    """
    if "system call filtering" in said:
        return "this kernel takes no system call filter: it must be built with CONFIG_SECCOMP_FILTER"
    clone, maximum, apparmor = (sysctls.get(path, "") for path in SYSCTLS)
    if clone == "0":
        return "user namespaces are off for ordinary users; as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if maximum == "0":
        return "user namespaces are off; as root: sysctl -w user.max_user_namespaces=63359"
    if apparmor == "1":
        return (
            "AppArmor restricts user namespaces (Ubuntu 23.10 and later); as root either install the profile"
            " bwrap-userns-restrict from the package apparmor-profiles and load it with apparmor_parser,"
            " or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        )
    if "Permission denied" in said or "Operation not permitted" in said or "No permissions" in said:
        return (
            "this process may not make namespaces: in a container, start it with --privileged, or with all of"
            " --security-opt seccomp=unconfined, apparmor=unconfined and systempaths=unconfined;"
            " elsewhere ask which security module forbids it (dmesg)"
        )
    return "run the command by hand to see more: bwrap --unshare-user --unshare-net --ro-bind / / true"


def _read_sysctls() -> dict[str, str]:
    values: dict[str, str] = {}
    for path in SYSCTLS:
        if os.path.exists(path):
            with open(path, encoding="ascii") as file:
                values[path] = file.read().strip()
    return values
