"""Settings: what may be written, what overrides what, and that conf/ tells the truth."""

from __future__ import annotations

import os
import pwd
import tomllib
from pathlib import Path

import pytest

from zbuild.config import (
    REASSIGN_STRATEGIES,
    BrokerConfig,
    ClientConfig,
    Config,
    WorkerConfig,
    normalise_endpoint,
    user_cache_dir,
)
from zbuild.coordinator.reassign import ReassignStrategy
from zbuild.errors import BadInput, ConfigError

CONF = Path(__file__).resolve().parents[2] / "conf"
ROLES: list[type[Config]] = [BrokerConfig, WorkerConfig, ClientConfig]


@pytest.mark.parametrize("role", ROLES)
def test_the_file_in_conf_has_every_key_at_its_default(role: type[Config]) -> None:
    path = CONF / f"{role.role}.toml"
    with open(path, "rb") as file:
        keys = set(tomllib.load(file))
    assert keys == set(role().settings())
    assert role.load(path).settings() == role().settings()


def test_the_ports_are_those_of_the_design() -> None:
    broker = BrokerConfig()
    assert (broker.port, broker.heartbeat_port, broker.blob_port) == (9000, 9001, 9003)


def test_a_broker_listens_to_its_own_machine_unless_told_otherwise() -> None:
    assert BrokerConfig().host == "127.0.0.1"


def test_flags_override_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("port = 9100\nmax_workers = 7\n")
    config = BrokerConfig.load(path, {"port": 9200, "host": None})
    assert (config.port, config.max_workers, config.host) == (9200, 7, BrokerConfig().host)


def test_a_mistyped_key_is_named_with_its_file_and_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("max_wokers = 7\n")
    with pytest.raises(ConfigError) as caught:
        BrokerConfig.load(path)
    assert str(caught.value) == f"{path}: unknown key 'max_wokers'; did you mean 'max_workers'?"


def test_a_key_like_no_other_gets_the_list_of_keys() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'zzz'; the keys are .*cache_dir.*port"):
        BrokerConfig().with_overrides({"zzz": 1})


def test_a_key_of_another_role_is_unknown() -> None:
    with pytest.raises(ConfigError, match="unknown key 'parallelism'"):
        BrokerConfig().with_overrides({"parallelism": 2})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('port = "9000"', "port must be a whole number, not a string"),
        ("port = 9000.0", "port must be a whole number, not a number"),
        ("port = true", "port must be a whole number, not true or false"),
        ("beacon = 1", "beacon must be true or false, not a whole number"),
        ("host = 127", "host must be a string, not a whole number"),
        ("host = ['a']", "host must be a string, not an array"),
        ("host = {}", "host must be a string, not a table"),
        ("port = 65536", "port must be 65535 or less, not 65536"),
        ("max_workers = 0", "max_workers must be 1 or more, not 0"),
        ("worker_timeout_s = nan", "worker_timeout_s must be finite"),
        ("worker_timeout_s = 1979-05-27", "worker_timeout_s must be a number, not a date"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        BrokerConfig.load(path)
    assert str(caught.value).startswith(f"{path}: {complaint}")


def test_a_word_outside_the_choices_is_refused() -> None:
    with pytest.raises(ConfigError, match="priority must be one of low, normal, high, critical, not 'urgent'"):
        ClientConfig().with_overrides({"priority": "urgent"})


def test_a_weaker_sandbox_cannot_be_asked_for_by_a_name_that_means_nothing() -> None:
    with pytest.raises(ConfigError, match="sandbox must be one of hermetic, process, none"):
        WorkerConfig().with_overrides({"sandbox": "weak"})


def test_whole_numbers_do_for_seconds() -> None:
    timeout_s = BrokerConfig().with_overrides({"worker_timeout_s": 60}).worker_timeout_s
    assert timeout_s == 60.0
    assert isinstance(timeout_s, float)


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read configuration .*absent\.toml: No such file"):
        BrokerConfig.load(tmp_path / "absent.toml")
    path = tmp_path / "broken.toml"
    path.write_text("port = \n")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML: .*line 1"):
        BrokerConfig.load(path)
    path.write_bytes(b"host = '\xff'")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML"):
        BrokerConfig.load(path)


def test_the_cache_directory_follows_the_xdg_rules() -> None:
    assert user_cache_dir({"XDG_CACHE_HOME": "/x", "HOME": "/h"}) == "/x/zbuild"
    assert user_cache_dir({"XDG_CACHE_HOME": "", "HOME": "/h"}) == "/h/.cache/zbuild"
    assert user_cache_dir({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache/zbuild"


def test_without_home_the_user_database_tells_the_cache_directory() -> None:
    assert user_cache_dir({}) == os.path.join(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "zbuild")


def test_roles_keep_their_caches_apart_unless_told_otherwise() -> None:
    environ = {"HOME": "/h"}
    directories = {role().directory(environ) for role in ROLES}
    assert directories == {f"/h/.cache/zbuild/{name}" for name in ("broker", "worker", "client")}
    assert WorkerConfig().with_overrides({"cache_dir": "/var/lib/zbuild"}).directory(environ) == "/var/lib/zbuild"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("farm", "tcp://farm:9000"),
        ("farm:9100", "tcp://farm:9100"),
        ("tcp://farm:9100", "tcp://farm:9100"),
        ("http://farm:9100", "tcp://farm:9100"),
        ("HTTP://farm/", "tcp://farm:9000"),
        (" 10.0.0.1 ", "tcp://10.0.0.1:9000"),
        ("[::1]:9100", "tcp://[::1]:9100"),
        ("tcp://[fe80::1%eth0]", "tcp://[fe80::1%eth0]:9000"),
    ],
)
def test_the_spellings_of_an_endpoint(text: str, endpoint: str) -> None:
    assert normalise_endpoint(text) == endpoint
    assert normalise_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected HOST or HOST:PORT"),
        ("a b", "expected HOST or HOST:PORT"),
        ("farm:9000/path", "expected HOST or HOST:PORT"),
        ("user@farm", "expected HOST or HOST:PORT"),
        ("farm:", "expected HOST or HOST:PORT"),
        ("farm\n:9000", "expected HOST or HOST:PORT"),
        ("::1", r"write an IPv6 address as \[::1\]:9000"),
        ("ftp://farm", "the scheme is ftp, expected tcp or http"),
        ("farm:0", "port 0 is not between 1 and 65535"),
        ("farm:65536", "port 65536 is not between 1 and 65535"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(BadInput, match=complaint):
        normalise_endpoint(text)


def test_every_strategy_of_the_coordinator_can_be_named_and_no_other() -> None:
    """config.py lies below the coordinator and cannot ask it."""
    assert set(REASSIGN_STRATEGIES) == {strategy.value for strategy in ReassignStrategy}
