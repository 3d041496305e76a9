"""What breaks in a farm, broken on purpose in real processes. Defect numbers are those of the seed's table."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.integration.farm import Farm, running_farm
from tests.integration.tree import Tree, client_environment, finish, start_module
from tests.live_processes import processes_below, processes_naming
from tests.polling import wait_until
from zbuild.protocol.codec import encode, to_client
from zbuild.protocol.messages import Hello, Refused, Role
from zbuild.protocol.status_messages import Status, StatusRequest

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")

COUNT = 12


@pytest.fixture
def busy(tmp_path: Path, farm: Farm, token: str) -> Iterator[Tree]:
    """A tree with COUNT commands that take long enough to break something meanwhile."""
    tree = Tree(tmp_path / "tree")
    tree.farm_flags = ["--coordinator", farm.endpoint]
    tree.manifest("".join(f"build o{n}: sh\n  cmd = sleep 0.4; echo {token} {n} > o{n}\n" for n in range(COUNT)))
    yield tree
    assert [tree.text(f"o{n}") for n in range(COUNT)] == [f"{token} {n}\n" for n in range(COUNT)]


@pytest.fixture(scope="module", autouse=True)
def unreachable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A build for a broker that is not there, and its port."""
    tree = Tree(tmp_path_factory.mktemp("unreachable"))
    tree.manifest("build a: sh\n  cmd = echo > a\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        build = tree.start("--json", "--coordinator", f"http://127.0.0.1:{port}")
        yield build, port
        build.kill()
        build.communicate()


def start_and_wait_for(tree: Tree, farm: Farm, worker: str) -> subprocess.Popen[str]:
    """A build of which the worker holds a part."""
    build = tree.start("--json")
    wait_until(lambda: farm.running_on(worker) > 0, f"{worker} to be at work")
    return build


def test_a_worker_killed_in_the_middle_costs_a_retry_and_no_result_as_in_defects_7_and_8(
    farm: Farm, busy: Tree
) -> None:
    build = start_and_wait_for(busy, farm, "worker-1")
    farm.workers["worker-1"].kill()
    run = finish(build)

    assert run.all_remote, run.stderr
    assert run.summary["retried"] > 0
    assert run.summary["wall_seconds"] < 15, "a lost link is noticed without waiting for a time-out"
    counters = farm.status()["counters"]
    assert counters["executed"] == COUNT, "at most one result of each action is accepted"
    assert counters["leases_granted"] == COUNT + counters["retried"]
    assert counters["workers_left"] == 1


def test_a_killed_worker_leaves_no_process_behind(farm: Farm, busy: Tree) -> None:
    build = start_and_wait_for(busy, farm, "worker-1")
    farm.workers["worker-1"].kill()
    directory = str(farm.directory / "worker-1")

    wait_until(lambda: not processes_naming(directory), "the sandboxes of the worker to end")
    assert finish(build).all_remote


def test_a_worker_that_is_told_to_stop_finishes_what_it_runs_and_gives_back_the_rest(farm: Farm, busy: Tree) -> None:
    build = start_and_wait_for(busy, farm, "worker-1")
    began_s = time.monotonic()

    assert farm.workers["worker-1"].terminate() == 0
    assert time.monotonic() - began_s < 10
    run = finish(build)

    assert run.all_remote, run.stderr
    counters = farm.status()["counters"]
    assert (counters["executed"], counters.get("retried", 0)) == (COUNT, 0), counters
    assert [worker["name"] for worker in farm.status()["workers"]] == ["worker-2"]


def test_a_worker_all_of_whose_processes_are_told_to_stop_fails_no_action(farm: Farm, busy: Tree) -> None:
    """As a service manager does it that signals a whole control group."""
    worker = farm.workers["worker-1"]
    build = start_and_wait_for(busy, farm, "worker-1")
    for pid in [worker.process.pid, *processes_below(worker.process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    run = finish(build)

    assert run.all_remote, run.stdout + run.stderr
    assert worker.process.wait(10) == 0, worker.log


def test_a_silent_worker_is_declared_lost_in_time_as_in_defect_11(short_path: Path, tmp_path: Path, token: str) -> None:
    (short_path / "broker.toml").write_text("worker_timeout_s = 6.0\nbeacon = false\n")
    tree = Tree(tmp_path / "tree")
    tree.manifest("".join(f"build o{n}: sh\n  cmd = sleep 0.3; echo {token} > o{n}\n" for n in range(COUNT)))
    with running_farm(short_path / "f", "--config", str(short_path / "broker.toml")) as farm:
        tree.farm_flags = ["--coordinator", farm.endpoint]
        build = start_and_wait_for(tree, farm, "worker-1")
        frozen = farm.workers["worker-1"].process
        frozen.send_signal(signal.SIGSTOP)
        try:
            run = finish(build)
        finally:
            frozen.send_signal(signal.SIGCONT)

        assert run.all_remote, run.stderr
        assert run.summary["retried"] > 0
        assert farm.status()["counters"]["executed"] == COUNT
        assert "silent for 6 s" in farm.broker.log


def test_a_build_waits_for_a_broker_that_comes_back(short_path: Path, busy_farm: Farm, busy_again: Tree) -> None:
    build = start_and_wait_for(busy_again, busy_farm, "worker-1")
    busy_farm.restart_broker()
    run = finish(build)

    assert run.exit_code == 0, run.stderr
    assert run.summary["local"] == 0


def test_a_killed_broker_s_next_life_goes_on_where_it_ended(
    short_path: Path, busy_farm: Farm, busy_again: Tree
) -> None:
    """kill -9 in the middle: no action is lost, none runs a second time, and what ran goes on running."""
    build = start_and_wait_for(busy_again, busy_farm, "worker-1")
    before = busy_farm.status()["counters"]["leases_granted"]
    busy_farm.broker.kill()
    busy_farm.restart_broker()
    run = finish(build)

    assert run.exit_code == 0, run.stderr
    assert (run.summary["local"], run.summary["failed"]) == (0, 0)
    counters = busy_farm.status()["counters"]
    assert before + counters.get("leases_granted", 0) <= COUNT, "what the killed broker leased is not leased again"
    assert counters["leases_recovered"] > 0
    assert counters.get("retried", 0) == 0


@pytest.fixture
def busy_farm(short_path: Path) -> Iterator[Farm]:
    """A farm on Unix sockets, which a broker that is started again finds free."""
    with running_farm(short_path / "f") as running:
        yield running


@pytest.fixture
def busy_again(tmp_path: Path, busy_farm: Farm, token: str) -> Tree:
    tree = Tree(tmp_path / "tree")
    tree.farm_flags = ["--coordinator", busy_farm.endpoint]
    tree.manifest("".join(f"build o{n}: sh\n  cmd = sleep 0.4; echo {token} > o{n}\n" for n in range(COUNT)))
    return tree


def test_an_action_that_no_worker_can_run_fails_at_once_and_names_the_property(
    farm: Farm, tmp_path: Path, token: str
) -> None:
    """setarch makes this client's machine another one; the workers keep theirs."""
    tree = Tree(tmp_path / "tree")
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    zbuild = [sys.executable, "-m", "zbuild.cli.main", "build", "--coordinator", farm.endpoint]
    began_s = time.monotonic()

    run = tree.run(["setarch", "i686", *zbuild])

    assert run.exit_code == 32
    assert "arch" in run.stderr
    assert "i686" in run.stderr
    assert time.monotonic() - began_s < 10
    assert not (tree.build / "a").exists()


@pytest.fixture
def dealer() -> Iterator[zmq.Socket[bytes]]:
    """A socket of this test's own, to speak to a broker by hand."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.IPV6, 1)
    made.setsockopt(zmq.LINGER, 0)
    made.setsockopt(zmq.RCVTIMEO, 20_000)
    try:
        yield made
    finally:
        made.close()
        context.term()


def test_a_client_of_another_version_is_refused_and_told_both_versions(farm: Farm, dealer: zmq.Socket[bytes]) -> None:
    dealer.connect(farm.endpoint.replace("http://", "tcp://"))
    dealer.send(encode(Hello(protocol_version=99, role=Role.CLIENT, name="from the future", incarnation=1)))

    answer = to_client.decode(dealer.recv())

    assert isinstance(answer, Refused)
    assert "from the future speaks protocol version 99, this broker 1" in answer.message


def test_a_build_that_the_broker_refuses_for_its_version_says_so(tree: Tree, token: str) -> None:
    """A broker of another version, played by this test."""
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        router.setsockopt(zmq.LINGER, 0)
        router.setsockopt(zmq.RCVTIMEO, 20_000)
        build = tree.start("--coordinator", f"127.0.0.1:{port}")
        peer = router.recv_multipart()[0]
        router.send_multipart([peer, encode(Refused(code=6, message="you speak version 1, this broker 2"))])
        run = finish(build)

    assert run.exit_code == 32
    assert "you speak version 1, this broker 2" in run.stderr


def test_ten_thousand_messages_pass_over_one_connection_as_in_defects_4_and_5(
    farm: Farm, dealer: zmq.Socket[bytes]
) -> None:
    dealer.connect(farm.endpoint.replace("http://", "tcp://"))
    question = encode(StatusRequest())
    for _ in range(100):
        for _ in range(100):
            dealer.send(question)
        answers = [to_client.decode(dealer.recv()) for _ in range(100)]
        assert all(isinstance(answer, Status) for answer in answers)


def test_bytes_that_are_no_message_do_the_broker_no_harm(farm: Farm, dealer: zmq.Socket[bytes]) -> None:
    dealer.connect(farm.endpoint.replace("http://", "tcp://"))
    for bad in (b"\x90", b"\xc1", b"\x00" * 1000, os.urandom(4096)):
        dealer.send(bad)
        assert isinstance(to_client.decode(dealer.recv()), Refused)

    assert farm.status()["counters"]["bad_message"] == 4


def test_a_corrupt_blob_is_noticed_and_made_again_as_in_defect_15(farm: Farm, tmp_path: Path, token: str) -> None:
    tree = Tree(tmp_path / "tree")
    tree.farm_flags = ["--coordinator", farm.endpoint]
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    tree.zbuild()
    (tree.build / "a").unlink()
    for path in (farm.directory / "broker/blobs").rglob("*"):
        if path.is_file() and path.read_bytes() == f"{token}\n".encode():
            path.chmod(0o600)
            path.write_bytes(b"corrupt".ljust(path.stat().st_size))

    run = tree.zbuild()

    assert run.exit_code == 0, run.stderr
    assert tree.text("a") == f"{token}\n"


def test_a_store_killed_in_the_middle_ends_the_broker_and_a_new_one_serves_what_is_whole(
    short_path: Path, tmp_path: Path, token: str
) -> None:
    tree = Tree(tmp_path / "tree")
    tree.manifest("".join(f"build o{n}: sh\n  cmd = echo {token} {n} > o{n}\n" for n in range(4)))
    with running_farm(short_path / "f", workers=1) as farm:
        tree.farm_flags = ["--coordinator", farm.endpoint]
        tree.zbuild()
        for n in range(4):
            (tree.build / f"o{n}").unlink()
        pid = farm.broker.process.pid
        os.kill(int(Path(f"/proc/{pid}/task/{pid}/children").read_text()), signal.SIGKILL)
        assert farm.broker.process.wait(20) != 0
        farm.restart_broker()
        run = tree.zbuild()

    assert run.all_remote, run.stderr
    assert run.summary["cache_hits"] == 4


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(short_path: Path, tmp_path: Path) -> None:
    with running_farm(short_path / "f", workers=0) as farm:
        farm.broker.terminate()
        worker = farm.start_worker("early")
        wait_until(lambda: worker.process.poll() is None, "the worker to run")
        farm.restart_broker()
        worker.wait_for("event=welcome")
        assert [each["name"] for each in farm.status()["workers"]] == ["early"]


def test_two_workers_do_not_share_a_directory(farm: Farm) -> None:
    flags = ["--coordinator", farm.endpoint, "--cache-dir", str(farm.directory / "worker-1")]

    run = finish(start_module("zbuild.cli.worker", *flags, cwd=farm.directory, env=client_environment()))

    assert run.exit_code == 9
    assert str(farm.directory / "worker-1") in run.stderr


def test_an_unreachable_broker_is_named_within_the_bound(unreachable: tuple[subprocess.Popen[str], int]) -> None:
    """The last test here: the build has been trying since the first one, for CONNECT_S."""
    build, port = unreachable

    run = finish(build)

    assert run.exit_code == 32
    assert f"no broker has answered at tcp://127.0.0.1:{port} for 20 s" in run.stderr
    assert 20 <= run.summary["wall_seconds"] < 25
