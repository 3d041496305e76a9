"""The hermetic sandbox with real processes: what an action sees, what it cannot do, how it ends. Defects 12 to 14."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration import ordinary_user_actions
from tests.integration.sandbox_driver import BUILD, ORDINARY_USER, ROOT_USER, Slot, as_user
from tests.live_processes import processes_naming
from tests.polling import wait_until
from zbuild import digest as digests
from zbuild.errors import SandboxUnavailable
from zbuild.sandbox.bubblewrap import probe
from zbuild.sandbox.launch import to_spawn
from zbuild.sandbox.spawn_protocol import Exited, Kill
from zbuild.sandbox.spawner import Spawner
from zbuild.sandbox.spec import SandboxLevel

pytestmark = pytest.mark.needs("bubblewrap")

NAP = f"3600.{os.getpid()}"
"""Seconds for ``sleep``, by which this run's processes are known."""
MAIN_C = b'#include <stdio.h>\n#include "a.h"\nint main(void) { puts(GREETING); return 0; }\n'
SOURCES = {"/zb/src/main.c": MAIN_C, f"{BUILD}/gen/a.h": b'#define GREETING "hello"\n'}


class TestWhatAnActionSees:
    """The tree, the identity and the environment inside."""

    @pytest.mark.needs("gcc")
    def test_compile_link_and_run(self, slot: Slot) -> None:
        """Outputs of one action are inputs of the next; they exist under their digest."""
        assert slot.run("cc -g -I gen -c ../main.c -o main.o", files=SOURCES, outputs=("main.o",)).exit_code == 0
        main_o = slot.blobs.read(slot.collect("main.o")["main.o"].digest)
        assert slot.run("cc main.o -o main", files={f"{BUILD}/main.o": main_o}, outputs=("main",)).exit_code == 0
        main = slot.collect("main")["main"]
        assert main.executable
        data = slot.blobs.read(main.digest)
        assert slot.text("./main", executables={f"{BUILD}/main": data}) == "hello\n"
        assert slot.text("../main", executables={"/zb/src/main": data}) == "hello\n"

    def test_only_declared_inputs_and_no_path_of_the_host_as_in_defect_14(self, slot: Slot) -> None:
        shown = slot.text("ls -A /; find /zb /tmp", files={"/zb/src/a": b""}).split()
        assert set(shown) - {"lib32", "lib64", "libx32"} == {
            *("bin", "dev", "etc", "lib", "proc", "sbin", "tmp", "usr", "zb"),
            *("/zb", "/zb/src", "/zb/src/a", BUILD, "/tmp"),
        }

    def test_inputs_below_tmp_are_there_and_the_rest_of_tmp_is_private(self, slot: Slot) -> None:
        marker = slot.directory / "host-file"
        marker.touch()
        text = slot.text("cat /tmp/dep/x.h; touch /tmp/y; ls /tmp", files={"/tmp/dep/x.h": b"dep "})
        assert text == "dep dep\ny\n"
        assert not os.path.exists("/tmp/y")

    def test_identity_host_name_and_environment_are_constant(self, slot: Slot) -> None:
        assert slot.text("id; hostname").splitlines() == [
            "uid=1000(zbuild) gid=1000(zbuild) groups=1000(zbuild)",
            "zbuild",
        ]
        assert sorted(slot.text("exec env").splitlines()) == [
            "HOME=/home/zbuild",
            "LANG=C.UTF-8",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            f"PWD={BUILD}",
            "SOURCE_DATE_EPOCH=946684800",
            "TMPDIR=/tmp",
            "TZ=UTC",
        ]
        assert sorted(slot.text("/usr/bin/env").splitlines()) == sorted(slot.text("exec env").splitlines()), "no shell"

    @pytest.mark.parametrize("level", list(SandboxLevel))
    def test_resource_limits_are_constant_and_no_core_is_dumped(self, slot: Slot, level: SandboxLevel) -> None:
        """A limit of 0 would let the kernel start what core_pattern names, outside the sandbox; of 1 it does not."""
        program = (
            "import resource as r; print([r.getrlimit(n) for n in (r.RLIMIT_CORE, r.RLIMIT_STACK, r.RLIMIT_NOFILE)])"
        )
        said = slot.text(f'exec python3 -c "{program}"', level=level)
        hard = [resource.getrlimit(each)[1] for each in (resource.RLIMIT_STACK, resource.RLIMIT_NOFILE)]
        assert said == f"[(1, 1), ({8 << 20}, {hard[0]}), (4096, {hard[1]})]\n"
        assert slot.text("sh -c 'ulimit -c unlimited; kill -SEGV $$' 2> /dev/null; ls", level=level) == ""

    def test_own_environment_reaches_the_command_alone_as_in_defect_14(self, slot: Slot) -> None:
        environment = (("LD_PRELOAD", "/nonexistent.so"), ("SOURCE_DATE_EPOCH", "7"), ("TZ", "Asia/Tokyo"))
        exited = slot.run("echo $SOURCE_DATE_EPOCH $TZ", environment=environment, joins_stderr=False)
        assert exited.stdout.data == b"7 Asia/Tokyo\n"
        assert exited.stderr.data.count(b"nonexistent.so") == 1, "only the shell has tried to load it"

    def test_input_between_actions_changes_with_the_action(self, slot: Slot) -> None:
        assert slot.text("cat ../a ../b", files={"/zb/src/a": b"1", "/zb/src/b": b"2"}) == "12"
        assert slot.run("cat ../b", files={"/zb/src/a": b"1"}).exit_code == 1
        assert slot.text("cat ../a", files={"/zb/src/a": b"3"}) == "3"

    def test_shell_plumbing_works(self, slot: Slot) -> None:
        text = slot.text(
            "echo a > /dev/stdout; cat <<E\nb\nE\nhead -c 2 /dev/zero | wc -c; ls /dev/fd/1; : > /dev/null"
        )
        assert text == "a\nb\n2\n/dev/fd/1\n"


class TestWhatAnActionCannotDo:
    """The walls, tried from inside."""

    def test_change_a_stored_blob_through_the_stage(self, slot: Slot) -> None:
        """Also when zbuild runs as root: the mount is read-only, and there is no capability to change that."""
        attempts = (
            "sh -c 'echo x >> ../a'",
            "sh -c ': > ../a'",
            "chmod 777 ../a",
            "chown 0 ../a",
            "touch ../a",
            "rm -f ../a",
            "mv ../a moved",
            "ln ../a linked",
            "ln -f made ../a",
            "truncate -s 0 ../a",
            "dd if=/dev/zero of=../a count=1",
            "cp --remove-destination made ../a",
            "mount -o remount,rw /zb",
            "umount /zb",
            "unshare -r -m mount -o remount,rw,bind /zb",
            "unshare -r -m umount /zb",
            "unshare -r -m sh -c 'mount -o remount,rw,bind /zb; echo x >> ../a'",
            "sh -c 'exec 9< ../a; echo x > /proc/self/fd/9'",
        )
        script = "\n".join(
            ["touch made", *(f"{attempt} 2>/dev/null && echo {number}" for number, attempt in enumerate(attempts))]
        )
        exited = slot.run(f"{script}\ncat ../a", files={"/zb/src/a": b"precious"})
        digest = digests.of_bytes(b"precious")
        path = slot.blobs.path_of(digest)
        assert exited.stdout.data == b"precious", "each attempt that succeeds prints its number"
        assert Path(path).read_bytes() == b"precious"
        assert (os.stat(path).st_mode & 0o7777, os.stat(path).st_nlink) == (0o444, 2)
        assert slot.text("cat ../a", files={"/zb/src/a": b"precious"}) == "precious"

    def test_copies_are_its_own(self, slot: Slot) -> None:
        slot.text("chmod 777 a; echo evil > a", files={f"{BUILD}/a": b"good"})
        assert slot.text("cat a", files={f"{BUILD}/a": b"good"}) == "good"

    def test_write_anywhere_but_below_its_root_and_tmp(self, slot: Slot) -> None:
        directories = "/ /usr /etc /zb /zb/src /dev /bin /proc"
        script = f"for d in {directories}; do (: > $d/x) 2>/dev/null && echo $d; done; : > x; : > /tmp/x"
        assert slot.text(script) == ""
        assert not os.path.exists("/usr/x")

    def test_reach_the_network(self, slot: Slot) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
            name = f"zbuild-test-{os.getpid()}"
            abstract.bind("\0" + name)
            abstract.listen()
            program = (
                "import socket\n"
                f"for family, address in ((socket.AF_INET, ('127.0.0.1', {server.getsockname()[1]})),"
                f" (socket.AF_UNIX, '\\0{name}')):\n"
                "    try: socket.socket(family).connect(address); print('CONNECTED', address)\n"
                "    except ConnectionRefusedError: print('refused')\n"
            )
            assert slot.text("exec python3 ../p", files={"/zb/src/p": program.encode()}) == "refused\nrefused\n"

    def test_see_or_signal_processes_outside(self, slot: Slot) -> None:
        text = slot.text(f"ls -d /proc/[0-9]* | wc -l; kill -0 {os.getpid()} 2>/dev/null && echo SIGNALLED; true")
        assert int(text) < 10

    def test_see_secrets_of_the_host(self, slot: Slot) -> None:
        for path in ("/etc/shadow", "/root", "/home", str(slot.directory), "/sys/class", "/var/lib", "/run"):
            assert slot.run(f"exec ls {path}").exit_code == 2, path

    def test_gain_privileges(self, slot: Slot) -> None:
        status = slot.text("exec grep -E '^(Cap(Eff|Prm|Inh|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status").split()
        assert dict(zip(status[::2], status[1::2], strict=True)) == {
            **dict.fromkeys(("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"), "0" * 16),
            "NoNewPrivs:": "1",
            "Seccomp:": "2",
        }
        assert slot.run("mknod d c 1 3 || su root -c true").exit_code != 0

    def test_inherit_a_descriptor(self, slot: Slot) -> None:
        assert slot.text("exec ls /proc/self/fd").split() == ["0", "1", "2", "3"]


class TestHowItEnds:
    """Exits, time-outs, kills, and what is reported."""

    def test_exit_codes_signals_and_absent_programs_as_in_defect_14(self, slot: Slot) -> None:
        assert slot.run("exit 7").exit_code == 7
        assert slot.run("kill -SEGV $$").exit_code == 128 + signal.SIGSEGV
        absent = slot.run("", arguments=("/nonexistent/cc",))
        assert (absent.exit_code, absent.error) == (127, "")
        forbidden = slot.run("", arguments=("/etc/passwd",))
        assert (forbidden.exit_code, forbidden.error) == (126, "")

    def test_failed_set_up_is_told_from_a_failed_command(self, slot: Slot) -> None:
        spec = slot.specify("true")
        shutil.rmtree(spec.stage_root)
        assert slot.spawner is not None
        slot.spawner.send(to_spawn(spec, 1))
        exited = slot.wait(1)
        assert exited.error.startswith("the sandbox could not be set up: bwrap: Can't find source path")

    def test_command_that_prints_like_bubblewrap_is_a_result(self, slot: Slot) -> None:
        exited = slot.run('echo "bwrap: Can\'t find source path"; exit 1')
        assert (exited.exit_code, exited.error) == (1, "")

    def test_output_on_both_streams_beyond_a_pipe_as_in_defect_14(self, slot: Slot) -> None:
        exited = slot.run("head -c 2000000 /dev/zero >&2; head -c 2000000 /dev/zero", joins_stderr=False)
        assert (exited.stdout.size_bytes, exited.stderr.size_bytes) == (2_000_000, 2_000_000)

    def test_timeout_ends_every_process_as_in_defect_14(self, slot: Slot) -> None:
        started_s = time.monotonic()
        exited = slot.run(f"trap '' TERM; sleep {NAP} & sleep {NAP}", timeout_s=0.3)
        assert exited.is_timed_out
        assert time.monotonic() - started_s < 5
        assert processes_naming(NAP) == []

    def test_kill(self, slot: Slot) -> None:
        spawn_id = slot.start(f"setsid sleep {NAP} & echo ready > ready; sleep {NAP}")
        wait_until(lambda: os.path.exists(slot.plan.location(f"{BUILD}/ready")))
        assert slot.spawner is not None
        slot.spawner.send(Kill(id=spawn_id))
        exited = slot.wait(spawn_id)
        assert exited.is_killed
        assert not exited.error
        assert processes_naming(NAP) == []

    def test_kill_at_any_moment_leaves_nothing(self, slot: Slot) -> None:
        """Also at a moment when bubblewrap has a child and has not yet named it."""
        assert slot.spawner is not None
        beside = Slot(slot.spawner, slot.directory / "beside")
        beside._last_id = 1000
        beside_id = beside.start("while ! [ -e go ]; do sleep 0.01; done", level=SandboxLevel.NONE)
        for step in range(30):
            spawn_id = slot.start(f"sleep {NAP}")
            time.sleep(step * 0.0003)
            slot.spawner.send(Kill(id=spawn_id))
            assert slot.wait(spawn_id).is_killed
        assert processes_naming(NAP) == []
        assert len(Path(f"/proc/{slot.spawner.pid}/task/{slot.spawner.pid}/children").read_text().split()) == 1
        Path(beside.plan.location(f"{BUILD}/go")).touch()
        assert beside.wait(beside_id).exit_code == 0

    def test_nothing_of_an_action_runs_when_its_end_is_reported(self, slot: Slot) -> None:
        """bubblewrap reports the command's end while its background processes are still dying."""
        writer = "while :; do echo x >> out; done"
        for _ in range(10):
            assert slot.run(f"(trap '' TERM HUP; exec setsid sh -c '{writer}') & sleep 0.02; exit 0").exit_code == 0
            size = os.path.getsize(slot.plan.location(f"{BUILD}/out"))
            assert processes_naming(writer) == []
            assert os.path.getsize(slot.plan.location(f"{BUILD}/out")) == size

    def test_usage_is_that_of_the_whole_tree(self, slot: Slot) -> None:
        busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
        exited = slot.run(f"sh -c '{busy}'; sh -c '{busy}'; head -c 60000000 /dev/zero | tail -c 50000000 > /dev/null")
        assert exited.user_s + exited.system_s > 0.05
        assert exited.peak_memory_bytes > 45_000_000

    def test_many_at_once(self, spawner: Spawner, tmp_path: Path) -> None:
        slots = [Slot(spawner, tmp_path / str(number)) for number in range(8)]
        for each in slots:
            each._last_id = 100 * slots.index(each)
        ids = [slot.start(f"sleep 1; echo {number} > out", outputs=("out",)) for number, slot in enumerate(slots)]
        started_s = time.monotonic()
        exited: dict[int, Exited] = {}
        while len(exited) < 8:
            assert select.select([spawner], [], [], 20)[0]
            exited |= {message.id: message for message in spawner.receive()}
        assert time.monotonic() - started_s < 3, "eight sleeps of 1 s, at once"
        assert sorted(exited) == sorted(ids)
        for number, each in enumerate(slots):
            assert each.blobs.read(each.collect("out")["out"].digest) == b"%d\n" % number


class TestWhereItRuns:
    """Users and places of the stage."""

    @pytest.mark.needs("root")
    def test_as_an_ordinary_user(self) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            result = as_user(ORDINARY_USER, Path(directory), ordinary_user_actions.build)
        assert result == {
            "uid": 65534,
            "exit_code": 0,
            "stdout": "1000\ninput\n",
            "out": "input\n",
            "second": "",
        }

    @pytest.mark.needs("root")
    def test_ordinary_user_removes_directories_without_permissions(self) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            assert as_user(ORDINARY_USER, Path(directory), ordinary_user_actions.reset) == ["kept"]

    @pytest.mark.needs("root")
    @pytest.mark.parametrize("user", [ORDINARY_USER, ROOT_USER])
    def test_outputs_in_closed_directories_are_collected(self, user: int) -> None:
        """An ordinary user's worker took them for a failure of its own disk, and the action went to the next worker."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            found = as_user(user, Path(directory), ordinary_user_actions.collect_locked)
        assert found == [f"d{mode:03o}/out" for mode in ordinary_user_actions.LOCKED_MODES]

    @pytest.mark.needs("root")
    @pytest.mark.parametrize("parent", ["/root", "/dev/shm", "/tmp"])
    def test_stage_at(self, spawner: Spawner, parent: str) -> None:
        with tempfile.TemporaryDirectory(dir=parent) as directory:
            slot = Slot(spawner, Path(directory))
            probe(slot.system.paths(), directory)
            assert slot.text("cat ../a; cp ../a b", files={"/zb/src/a": b"a"}) == "a"
            slot.collect("b")

    def test_without_sandbox_on_request(self, slot: Slot) -> None:
        text = slot.text("pwd; cat ../a", files={"/zb/src/a": b"a"}, level=SandboxLevel.NONE)
        assert text == f"{slot.plan.location(BUILD)}\na"


class TestRefusal:
    """Hermetic asked for and impossible: refused with the reason, never weakened."""

    @pytest.mark.needs("root")
    def test_where_user_namespaces_are_off(self, tmp_path: Path) -> None:
        paths = Slot(None, tmp_path).system.paths()
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _enter_user_namespace_without_children()
                probe(paths, str(tmp_path))
                os.write(writer, b"PROBED")
            except SandboxUnavailable as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            said = file.read()
        os.waitpid(pid, 0)
        assert "the hermetic sandbox does not work here: bwrap: " in said
        assert "sysctl -w user.max_user_namespaces=" in said

    def test_where_the_system_tree_is_broken(self, slot: Slot, tmp_path: Path) -> None:
        paths = slot.system.paths()
        shutil.rmtree(paths[-1].source)
        with pytest.raises(SandboxUnavailable, match="Can't find source path"):
            probe(paths, str(tmp_path))


def _enter_user_namespace_without_children() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/uid_map").write_text("0 0 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
