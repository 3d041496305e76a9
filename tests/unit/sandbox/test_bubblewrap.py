"""The command line of the hermetic sandbox, and what is said where it cannot be had. Defect 13."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zbuild.errors import SandboxUnavailable
from zbuild.model.capabilities import Capabilities
from zbuild.sandbox import bubblewrap
from zbuild.sandbox.bubblewrap import bubblewrap_argv, find_bubblewrap, probe, remedy
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spec import SandboxLevel, SandboxSpec, SystemPath
from zbuild.sandbox.system import SystemTree


def spec(level: SandboxLevel = SandboxLevel.HERMETIC, **changes: object) -> SandboxSpec:
    fields: dict[str, object] = {
        "level": level,
        "stage_root": "/w/stage/0/root",
        "read_only_paths": ("/tmp/x", "/zb"),
        "writable_root": "/zb/src/zb-build",
        "working_directory": "/zb/src/zb-build/sub",
        "arguments": ("/bin/sh", "-c", "echo --bind / /"),
        "environment": (("LD_PRELOAD", "/zb/evil.so"), ("PATH", "/opt/bin")),
        "stdout_path": "/w/out",
        "stderr_path": None,
        "capabilities": Capabilities(timeout_s=60.0),
        "system": (SystemPath("/usr", source="/usr"), SystemPath("/bin", link_target="usr/bin")),
    }
    return SandboxSpec(**(fields | changes))  # type: ignore[arg-type]  # the fields above, by name


def options(argv: list[str], name: str, count: int) -> list[tuple[str, ...]]:
    return [tuple(argv[at + 1 : at + 1 + count]) for at, word in enumerate(argv) if word == name]


def test_mounts() -> None:
    argv = bubblewrap_argv(spec())
    masks = [(source, path) for source, path in options(argv, "--ro-bind", 2) if source == "/dev/null"]
    assert ("/dev/null", "/proc/keys") in masks
    assert all(path.startswith("/proc/") for _, path in masks)
    assert [mount for mount in options(argv, "--ro-bind", 2) if mount not in masks] == [
        ("/usr", "/usr"),
        ("/w/stage/0/root/tmp/x", "/tmp/x"),
        ("/w/stage/0/root/zb", "/zb"),
    ]
    assert ("usr/bin", "/bin") in options(argv, "--symlink", 2)
    writable = argv.index("--bind")
    assert argv[writable + 1 : writable + 3] == ["/w/stage/0/root/zb/src/zb-build", "/zb/src/zb-build"]
    assert argv.index("/tmp") < argv.index("/tmp/x") < writable, "what is mounted later lies on top"
    assert argv.index("/proc") < argv.index("/proc/1")
    at_last = ["--remount-ro", "/", "--remount-ro", "/proc", "--chdir"]
    assert argv[writable + 3 : writable + 3 + len(at_last)] == at_last


def test_every_wall_is_demanded_not_tried() -> None:
    argv = bubblewrap_argv(spec())
    for wall in ("user", "ipc", "pid", "net", "uts"):
        assert f"--unshare-{wall}" in argv
    assert {"--die-with-parent", "--new-session"} <= set(argv)
    assert options(argv, "--cap-drop", 1) == [("ALL",)]
    assert options(argv, "--hostname", 1) == [("zbuild",)]


def test_command_cannot_be_taken_for_options() -> None:
    argv = bubblewrap_argv(spec())
    end = argv.index("--")
    assert argv[end + 1 :] == ["/bin/sh", "-c", "echo --bind / /"]


def test_environment_is_for_the_command_and_never_for_bubblewrap() -> None:
    argv = bubblewrap_argv(spec())
    environment = dict(zip(*zip(*options(argv, "--setenv", 2), strict=True), strict=True))
    assert environment["LD_PRELOAD"] == "/zb/evil.so"
    assert environment["PATH"] == "/opt/bin", "the action's own value wins"
    assert (environment["TZ"], environment["LANG"], environment["HOME"]) == ("UTC", "C.UTF-8", "/home/zbuild")
    assert environment["SOURCE_DATE_EPOCH"] == "946684800"
    assert to_spawn(spec(), 1).environment == ()


@pytest.mark.needs("bubblewrap")
def test_hermetic_spawn() -> None:
    spawn = to_spawn(spec(), 9)
    assert spawn.argv[0] == find_bubblewrap()
    assert (spawn.id, spawn.working_directory, spawn.is_sandboxed, spawn.timeout_s) == (9, "/", True, 60.0)


def test_plain_spawn_runs_in_the_stage() -> None:
    spawn = to_spawn(spec(SandboxLevel.NONE), 9)
    assert spawn.argv == ("/bin/sh", "-c", "echo --bind / /")
    assert spawn.working_directory == "/w/stage/0/root/zb/src/zb-build/sub"
    assert not spawn.is_sandboxed
    assert dict(spawn.environment)["TZ"] == "UTC"


def test_absent_bubblewrap_is_named_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "PROGRAM_PATH", "/nonexistent")
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        find_bubblewrap()


def test_a_device_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CVE-2025-31133: what is mounted over a secret must be the real /dev/null."""
    (tmp_path / "null").symlink_to("/etc/shadow")
    for path in (str(tmp_path / "null"), str(tmp_path), "/dev/zero"):
        monkeypatch.setattr(bubblewrap, "_DEVICES", {path: os.makedev(1, 3)})
        with pytest.raises(SandboxUnavailable, match=f"{path} is not the character device 1:3"):
            probe((), str(tmp_path))
    monkeypatch.setattr(bubblewrap, "_DEVICES", {str(tmp_path / "none"): os.makedev(1, 3)})
    with pytest.raises(SandboxUnavailable, match="none: No such file"):
        probe((), str(tmp_path))


@pytest.mark.needs("bubblewrap")
def test_without_a_filter_hermetic_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "filter").write_bytes(b"no filter")
    monkeypatch.setattr(bubblewrap, "filter_path", lambda: str(tmp_path / "filter"))
    with pytest.raises(SandboxUnavailable, match="Invalid seccomp data"):
        probe(SystemTree(tmp_path / "system").paths(), str(tmp_path))


CLONE = "/proc/sys/kernel/unprivileged_userns_clone"
MAXIMUM = "/proc/sys/user/max_user_namespaces"
APPARMOR = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"


@pytest.mark.parametrize(
    ("said", "sysctls", "fix"),
    [
        (
            "bwrap: No permissions to create a new namespace",
            {CLONE: "0", MAXIMUM: "100"},
            "unprivileged_userns_clone=1",
        ),
        ("bwrap: Creating new namespace failed", {CLONE: "1", MAXIMUM: "0"}, "user.max_user_namespaces="),
        ("bwrap: setting up uid map: Permission denied", {APPARMOR: "1", MAXIMUM: "9"}, "bwrap-userns-restrict"),
        ("bwrap: setting up uid map: Permission denied", {APPARMOR: "1"}, "apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: Creating new namespace failed: Operation not permitted", {MAXIMUM: "9"}, "--privileged"),
        ("bwrap: Unable to set up system call filtering as requested", {}, "CONFIG_SECCOMP_FILTER"),
        ("bwrap: Can't mount proc on /newroot/proc", {}, "by hand"),
    ],
)
def test_remedy_names_the_switch(said: str, sysctls: dict[str, str], fix: str) -> None:
    assert fix in remedy(said, sysctls)


class TestSystemTree:
    """The worker's own directories, and the /etc made for sandboxes."""

    def test_etc_has_one_user_and_nothing_of_the_host(self, tmp_path: Path) -> None:
        (etc,) = (path for path in SystemTree(tmp_path / "system").paths() if path.path == "/etc")
        assert Path(etc.source, "passwd").read_text() == "zbuild:x:1000:1000:zbuild:/home/zbuild:/bin/sh\n"
        allowed = {
            "passwd",
            "group",
            "hosts",
            "nsswitch.conf",
            "alternatives",
            "ld.so.cache",
            "ld.so.conf",
            "ld.so.conf.d",
        }
        assert set(os.listdir(etc.source)) <= allowed

    def test_changed_original_gives_a_new_etc_and_spares_the_one_in_use(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree = SystemTree(tmp_path / "system")
        first = tree.paths()
        assert tree.paths() is first
        monkeypatch.setattr("zbuild.sandbox.system._stamp", lambda path: (1, 2, 3))
        second = tree.paths()
        assert second[-1].source != first[-1].source
        assert os.path.exists(first[-1].source + "/passwd")

    def test_merged_directories_are_what_they_are_on_the_host(self, tmp_path: Path) -> None:
        paths = {path.path: path for path in SystemTree(tmp_path / "system", extra=["/opt"]).paths()}
        assert paths["/usr"].source == paths["/opt"].source.replace("opt", "usr") == "/usr"
        assert bool(paths["/bin"].link_target) is os.path.islink("/bin")

    def test_unusable_directory_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(SandboxUnavailable, match="file/system"):
            SystemTree(tmp_path / "file" / "system")
