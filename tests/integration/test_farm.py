"""A farm of real processes on TCP loopback. Defect numbers are those of the seed's table."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.integration.farm import Farm, free_udp_port, running_farm
from tests.integration.tree import Tree, client_environment, finish, run_zbuild, start_module
from tests.polling import wait_until

pytestmark = pytest.mark.needs("bubblewrap", "ninja", "gcc")


@pytest.fixture
def remote_tree(tmp_path: Path, farm: Farm) -> Tree:
    """A tree whose builds go to ``farm``."""
    made = Tree(tmp_path / "tree")
    made.farm_flags = ["--coordinator", farm.endpoint]
    return made


def commands(count: int, command: str) -> str:
    """Edges o0, o1, ... ; ``{n}`` in the command is the edge's number."""
    return "".join(f"build o{n}: sh\n  cmd = {command.replace('{n}', str(n))}\n" for n in range(count))


def test_workers_register_and_the_broker_lists_them_as_in_defect_1(farm: Farm) -> None:
    status = farm.status()

    assert sorted(worker["name"] for worker in status["workers"]) == ["worker-1", "worker-2"]
    assert len({worker["id"] for worker in status["workers"]}) == 2
    assert status["slots"] == 4
    assert status["counters"]["workers_joined"] == 2
    assert all(worker["platform"]["os"] == "linux" for worker in status["workers"])
    assert {"epoch", "queued", "leased", "clients", "cache_entries", "store_free_bytes"} <= set(status)


def test_a_worker_keeps_its_id_when_it_comes_back(farm: Farm) -> None:
    before = {worker["name"]: worker["id"] for worker in farm.status()["workers"]}
    farm.workers["worker-1"].terminate()
    wait_until(lambda: len(farm.status()["workers"]) == 1, "the worker to be gone")
    farm.workers["worker-1"].log_path.write_text("")
    farm.add_worker("worker-1")

    assert {worker["name"]: worker["id"] for worker in farm.status()["workers"]} == before


def test_results_come_back_and_lie_in_the_store_as_in_defects_2_and_12(
    farm: Farm, remote_tree: Tree, token: str
) -> None:
    remote_tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")

    assert remote_tree.zbuild().all_remote
    assert remote_tree.text("a") == f"{token}\n"
    stored = [path for path in (farm.directory / "broker/blobs").rglob("*") if path.is_file()]
    assert any(path.read_bytes() == f"{token}\n".encode() for path in stored)
    wait_until(lambda: farm.status()["counters"].get("store_blobs_stored", 0) >= 1, "the store's counters")


def test_a_batch_of_actions_reaches_the_workers_as_in_defect_3(farm: Farm, remote_tree: Tree, token: str) -> None:
    remote_tree.manifest(commands(60, f"echo {token} {{n}} > o{{n}}"))

    run = remote_tree.zbuild()

    assert run.all_remote
    assert all(remote_tree.text(f"o{n}") == f"{token} {n}\n" for n in range(60))
    counters = farm.status()["counters"]
    assert (counters["submitted"], counters["leases_granted"], counters["executed"]) == (60, 60, 60)
    assert counters.get("retried", 0) == 0


def test_a_failed_command_is_never_run_again_by_the_farm_as_in_defect_9(
    farm: Farm, remote_tree: Tree, token: str
) -> None:
    remote_tree.write({"a.c": f"#error no {token}\n"})
    remote_tree.manifest("build a.o: cc a.c\n")

    assert remote_tree.zbuild().exit_code == 1
    counters = farm.status()["counters"]
    assert (counters["leases_granted"], counters.get("retried", 0)) == (1, 0)


def test_metrics_of_workers_are_in_range_as_in_defect_10(short_path: Path) -> None:
    (short_path / "broker.toml").write_text("heartbeat_interval_s = 0.1\nbeacon = false\n")
    with running_farm(short_path / "f", "--config", str(short_path / "broker.toml"), workers=1) as farm:
        wait_until(lambda: farm.status()["workers"][0]["cpu"] >= 0, "a heartbeat")
        (worker,) = farm.status()["workers"]

    assert 0 <= worker["cpu"] <= 1
    assert 0 < worker["memory"] < 1
    assert 0 < worker["disk"] < 1


def test_a_worker_without_the_hermetic_sandbox_refuses_as_in_defect_13(farm: Farm) -> None:
    """The worker is started where the kernel gives out no further user namespaces."""
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    worker = farm.start_worker("bare", 1, prefix=("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"))

    assert worker.process.wait(20) == 36
    assert "hermetic sandbox" in worker.log
    assert len(farm.status()["workers"]) == 2


def test_eight_slots_run_eight_commands_at_once_as_in_defect_16(farm: Farm, remote_tree: Tree, token: str) -> None:
    farm.add_worker("wide", 8)
    for name in ("worker-1", "worker-2"):
        farm.workers[name].terminate()
    remote_tree.manifest(commands(8, f"sleep 1; echo {token} {{n}} > o{{n}}"))

    run = remote_tree.zbuild("-j8")

    assert run.all_remote
    assert run.summary["wall_seconds"] < 4


def test_two_clients_that_build_the_same_tree_run_equal_actions_once(farm: Farm, tmp_path: Path, token: str) -> None:
    trees = [Tree(tmp_path / name) for name in ("here", "there/deeper")]
    for tree in trees:
        tree.farm_flags = ["--coordinator", farm.endpoint]
        tree.manifest(commands(6, f"sleep 0.3; echo {token} {{n}} > o{{n}}"))
    runs = [finish(process) for process in [tree.start("--json") for tree in trees]]

    assert all(run.all_remote for run in runs), runs
    counters = farm.status()["counters"]
    assert counters["submitted"] == 12
    assert counters["executed"] == 6
    assert counters["joined"] + counters.get("cache_hits", 0) == 6


def test_higher_priority_overtakes_a_build_that_came_first(short_path: Path, tmp_path: Path, token: str) -> None:
    trees = {priority: Tree(tmp_path / priority) for priority in ("low", "critical")}
    with running_farm(short_path / "f", workers=0) as farm:
        farm.add_worker("narrow", 1)
        for priority, tree in trees.items():
            tree.farm_flags = ["--coordinator", farm.endpoint, "--priority", priority]
            tree.manifest(
                commands(20 if priority == "low" else 4, f"sleep 0.2; echo {token} {priority} {{n}} > o{{n}}")
            )
        slow = trees["low"].start()
        wait_until((trees["low"].build / "o0").exists, "the first build to begin")
        assert trees["critical"].zbuild().all_remote

        left = [n for n in range(20) if not (trees["low"].build / f"o{n}").exists()]
        assert finish(slow).exit_code == 0

    assert len(left) >= 6


def test_local_workers_help_a_farm_that_has_none(short_path: Path, tmp_path: Path, token: str) -> None:
    tree = Tree(tmp_path / "tree")
    tree.manifest(commands(4, f"echo {token} {{n}} > o{{n}}"))
    with running_farm(short_path / "f", workers=0, is_tcp=True) as farm:
        run = tree.zbuild("--coordinator", farm.endpoint, "--local-workers", "2")
        assert run.all_remote
        assert farm.status()["counters"]["workers_joined"] == 2
        wait_until(lambda: farm.status()["workers"] == [], "the local workers to leave")


def test_distributed_finds_the_broker_by_its_beacon(short_path: Path, tmp_path: Path, token: str) -> None:
    """Broker and client keep to 127.0.0.1."""
    port = free_udp_port()
    (short_path / "broker.toml").write_text(f"beacon_port = {port}\n")
    (short_path / "client.toml").write_text(f'beacon_port = {port}\nbeacon_address = "127.0.0.1"\n')
    tree = Tree(tmp_path / "tree")
    tree.manifest(f"build a: sh\n  cmd = echo {token} > a\n")
    with running_farm(short_path / "f", "--config", str(short_path / "broker.toml"), is_tcp=True, workers=1) as farm:
        run = tree.zbuild("--distributed", "--config", str(short_path / "client.toml"))
        assert run.all_remote
        assert farm.status()["counters"]["executed"] == 1


def test_distributed_with_no_broker_says_where_it_asked(tmp_path: Path) -> None:
    port = free_udp_port()
    (tmp_path / "client.toml").write_text(
        f'beacon_port = {port}\nbeacon_address = "127.0.0.1"\nbeacon_timeout_s = 0.2\n'
    )

    run = run_zbuild("status", "--distributed", "--config", "client.toml", cwd=tmp_path)

    assert run.exit_code == 32
    assert f"127.0.0.1:{port}" in run.stderr


@pytest.mark.parametrize(("module", "key"), [("zbuild.cli.broker", "max_wrokers"), ("zbuild.cli.worker", "paralelism")])
def test_a_daemon_names_a_mistyped_key(tmp_path: Path, module: str, key: str) -> None:
    (tmp_path / "daemon.toml").write_text(f"{key} = 3\n")

    run = finish(start_module(module, "--config", "daemon.toml", cwd=tmp_path, env=client_environment()))

    assert run.exit_code == 2
    assert f"daemon.toml: unknown key '{key}'; did you mean" in run.stderr


@pytest.mark.parametrize("module", ["zbuild.cli.broker", "zbuild.cli.worker"])
def test_a_daemon_refuses_a_wrong_flag(tmp_path: Path, module: str) -> None:
    run = finish(start_module(module, "--no-such-flag", cwd=tmp_path, env=client_environment()))

    assert run.exit_code == 2
    assert "--no-such-flag" in run.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path, farm: Farm) -> None:
    port = farm.endpoint.rpartition(":")[2]
    ports = ["--port", port, "--heartbeat-port", "0", "--announcement-port", "0", "--blob-port", "0"]
    flags = [*ports, "--no-beacon", "--cache-dir", str(tmp_path)]

    run = finish(start_module("zbuild.cli.broker", *flags, cwd=tmp_path, env=client_environment()))

    assert run.exit_code not in (0, 37)
    assert f":{port}" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_tells_the_service_manager_when_it_is_ready(short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_path / "notify"))
        manager.settimeout(20)
        flags = ["--socket-dir", str(short_path), "--cache-dir", str(short_path / "cache")]
        environment = client_environment() | {"NOTIFY_SOCKET": str(short_path / "notify")}
        broker = start_module("zbuild.cli.broker", *flags, cwd=short_path, env=environment)
        try:
            assert manager.recv(100) == b"READY=1"
            assert (short_path / "control").exists()
            broker.terminate()
            assert manager.recv(100) == b"STOPPING=1"
        finally:
            broker.terminate()
            run = finish(broker)
    assert run.exit_code == 0


def test_logs_can_be_json(short_path: Path) -> None:
    with running_farm(short_path / "f", workers=0) as farm:
        worker = farm.start_worker("one", 1, "--log-format", "json")
        wait_until(lambda: "welcome" in worker.log, "the welcome")
        events = [json.loads(line)["event"] for line in worker.log.splitlines()]
    assert "welcome" in events
