"""The settings of every role: each key, its type, its range and its default, and the TOML files that change them.

A flag overrides the file and the file overrides the default. conf/ holds one file per role that
lists every key at its default; tests/unit/test_config.py holds the two together.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

from zbuild.errors import BadInput, ConfigError
from zbuild.limits import (
    ACTION_DISK_BYTES,
    ACTION_PROCESSES,
    CEILING_TIMEOUT_S,
    GIB,
    LONGEST_TIMEOUT_S,
    MIB,
    PREFETCH_S,
    PROCESSORS,
    STEAL_HANG_UP_S,
)

CONTROL_PORT = 9000
HEARTBEAT_PORT = 9001
ANNOUNCEMENT_PORT = 9002
BLOB_PORT = 9003
STEAL_PORT = 9100
"""Of a worker; the seed's."""
PEER_BLOB_PORT = 9101
BEACON_PORT = 9004
"""UDP, and apart from the four TCP ports so that a firewall rule can name it."""

EMBEDDED_WORKERS = 2
"""Workers of a farm that a build starts for itself: two, so that whatever breaks between workers shows at home."""

SANDBOXES = ("hermetic", "process", "none")
"""Levels that a worker can be asked for; an unknown or unavailable one is refused, never weakened."""

PRIORITIES = ("low", "normal", "high", "critical")

STEAL_STRATEGIES = ("random", "least-loaded", "most-loaded", "power-of-two", "adaptive")
"""The values of worker/steal_strategy.py's StealStrategy."""

REASSIGN_STRATEGIES = ("round-robin", "least-loaded", "affinity", "priority")
"""The values of coordinator/reassign.py's ReassignStrategy."""


class Rule(NamedTuple):
    """What a value must satisfy beyond having its default's type. Bounds are inclusive."""

    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def violation(self, value: object) -> str | None:
        """What is wrong with ``value``, in words, or None."""
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(self.choices)}"
        if isinstance(value, int | float):
            if not math.isfinite(value):
                return "must be finite"
            if self.minimum is not None and value < self.minimum:
                return f"must be {self.minimum:g} or more"
            if self.maximum is not None and value > self.maximum:
                return f"must be {self.maximum:g} or less"
        return None


_ANY = Rule()
_PORT = Rule(minimum=0, maximum=65_535)
"""0 asks the system for a free port."""


class Config:
    """What the settings of all roles share: where things are kept on disk, and how much of them.

    A setting is an attribute of the class with a rule; its value there is the default. (Data classes would say it
    more briefly, but to import their module and to generate them costs each build 12 ms.)

    Attributes:
        rules: of every setting of the role, those of all roles included.
        cache_dir: empty stands for the role's directory below the user's cache directory.
        cache_bytes: size at which eviction begins.
    """

    role = ""
    rules: ClassVar[dict[str, Rule]] = {"cache_dir": _ANY, "cache_bytes": Rule(minimum=64 * MIB)}

    cache_dir: str = ""
    cache_bytes: int = 20 * GIB

    def settings(self) -> dict[str, Any]:
        """Every key of this role with its value."""
        return {key: getattr(self, key) for key in self.rules}

    def directory(self, environ: Mapping[str, str]) -> str:
        """Where this role keeps its blobs and logs; it need not exist yet."""
        if self.cache_dir:
            return os.path.abspath(self.cache_dir)
        return os.path.join(user_cache_dir(environ), self.role)

    def with_overrides(self, overrides: Mapping[str, Any], origin: str = "command line") -> Self:
        """These settings with those of ``overrides`` that are not None.

        Raises:
            ConfigError: a key does not exist here, or its value has the wrong type or range.
        """
        settings = self.settings()
        changed = type(self)()
        changed.__dict__.update(self.__dict__)
        for key, value in overrides.items():
            if value is None:
                continue
            if key not in settings:
                raise ConfigError(f"{origin}: unknown key {key!r}{_hint(key, settings)}")
            checked = _checked(key, value, type(settings[key]), self.rules[key], origin)
            setattr(changed, key, checked)
        return changed

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None, overrides: Mapping[str, Any] | None = None) -> Self:
        """The defaults, changed by the TOML file at ``path`` if there is one, then by ``overrides``.

        Raises:
            ConfigError: the file cannot be read or parsed, or a key or value in it is not valid.
        """
        config = cls()
        if path is not None:
            config = config.with_overrides(_read_toml(path), origin=os.fspath(path))
        return config.with_overrides(overrides or {})


class BrokerConfig(Config):
    """Settings of ``zbuild-broker``, in conf/broker.toml.

    Attributes:
        host: address to listen at. Loopback unless told otherwise, for there is no authentication yet.
        worker_timeout_s: silence after which a worker counts as lost.
        heartbeat_interval_s: how often workers publish their load; they learn it when they register.
        reassign_strategy: which of the workers that could run an action gets it.
        prefetch_s: expected work that a worker may hold beyond its slots, in seconds for each slot. More keeps workers
            busy for longer while the broker is away, and has more to be stolen and less to be cancelled.
        beacon: whether ``zbuild build --distributed`` on the same network may find this broker by UDP.
    """

    role = "broker"
    rules: ClassVar[dict[str, Rule]] = {
        **Config.rules,
        "host": _ANY,
        "beacon": _ANY,
        **dict.fromkeys(("port", "heartbeat_port", "announcement_port", "blob_port", "beacon_port"), _PORT),
        "max_workers": Rule(minimum=1, maximum=100_000),
        "worker_timeout_s": Rule(minimum=0.1),
        "heartbeat_interval_s": Rule(minimum=0.05),
        "reassign_strategy": Rule(choices=REASSIGN_STRATEGIES),
        "prefetch_s": Rule(minimum=0, maximum=3600),
    }

    host: str = "127.0.0.1"
    port: int = CONTROL_PORT
    heartbeat_port: int = HEARTBEAT_PORT
    announcement_port: int = ANNOUNCEMENT_PORT
    blob_port: int = BLOB_PORT
    max_workers: int = 1000
    worker_timeout_s: float = 30.0
    heartbeat_interval_s: float = 5.0
    reassign_strategy: str = "priority"
    prefetch_s: float = PREFETCH_S
    beacon: bool = True
    beacon_port: int = BEACON_PORT


class WorkerConfig(Config):
    """Settings of ``zbuild-worker``, in conf/worker.toml.

    Attributes:
        parallelism: actions at once; 0 stands for the number of processors this process may use.
        name: how the worker is called in ``zbuild status``; empty stands for the host's name.
        local_queue_size: leases held beyond the running ones, so that a slot never waits for the network.
        enable_work_stealing, strategy, steal_timeout_s, retry_backoff_s, max_retries, min_local_queue, steal_threshold:
            the seed's StealConfig, see worker/steal_settings.py.
        listen_host: the address at which peers reach this worker; empty stands for the one that it has on its way to
            the broker.
        listen_port: where it answers them; another free one when this is taken.
        listen_blob_port: where they fetch the inputs of what they have taken; likewise.
        network, write_home, write_tmp, read_paths, write_paths, max_cpu, max_memory_bytes, timeout_s: the ceiling,
            Capabilities that no action gets more than. Without max_memory_bytes an action gets nine tenths of the
            machine's memory.
        max_processes: processes and threads of one action.
        max_disk_bytes: files of one action, its copied inputs included.
    """

    role = "worker"
    rules: ClassVar[dict[str, Rule]] = {
        **Config.rules,
        "coordinator": _ANY,
        "name": _ANY,
        "parallelism": Rule(minimum=0, maximum=4096),
        "sandbox": Rule(choices=SANDBOXES),
        "local_queue_size": Rule(minimum=0, maximum=65_536),
        "enable_work_stealing": _ANY,
        "strategy": Rule(choices=STEAL_STRATEGIES),
        "steal_timeout_s": Rule(minimum=0.001, maximum=STEAL_HANG_UP_S),
        "retry_backoff_s": Rule(minimum=0.001, maximum=60),
        "max_retries": Rule(minimum=0, maximum=100),
        "min_local_queue": Rule(minimum=1, maximum=65_536),
        "steal_threshold": Rule(minimum=0.01, maximum=1),
        "listen_host": _ANY,
        "listen_port": _PORT,
        "listen_blob_port": _PORT,
        **dict.fromkeys(("network", "write_home", "write_tmp", "read_paths", "write_paths"), _ANY),
        "max_cpu": Rule(minimum=0, maximum=PROCESSORS),
        "max_memory_bytes": Rule(minimum=0),
        "timeout_s": Rule(minimum=0.001, maximum=LONGEST_TIMEOUT_S),
        "max_processes": Rule(minimum=16),
        "max_disk_bytes": Rule(minimum=MIB),
    }

    coordinator: str = f"tcp://127.0.0.1:{CONTROL_PORT}"
    parallelism: int = 0
    name: str = ""
    sandbox: str = "hermetic"
    local_queue_size: int = 256
    enable_work_stealing: bool = True
    strategy: str = "power-of-two"
    steal_timeout_s: float = 0.1
    retry_backoff_s: float = 0.05
    max_retries: int = 3
    min_local_queue: int = 2
    steal_threshold: float = 0.5
    listen_host: str = ""
    listen_port: int = STEAL_PORT
    listen_blob_port: int = PEER_BLOB_PORT
    network: bool = False
    write_home: bool = True
    write_tmp: bool = True
    read_paths: tuple[str, ...] = ()
    write_paths: tuple[str, ...] = ()
    max_cpu: int = 0
    max_memory_bytes: int = 0
    timeout_s: float = CEILING_TIMEOUT_S
    max_processes: int = ACTION_PROCESSES
    max_disk_bytes: int = ACTION_DISK_BYTES


class ClientConfig(Config):
    """Settings of ``zbuild build`` and the other client commands, in conf/client.toml.

    Attributes:
        coordinator: a broker; empty stands for the farm that the command starts for itself.
        local_workers: workers started on this machine beside a broker elsewhere.
        local_fallback: actions run on this machine, without a sandbox, when the farm cannot run them.
        parallelism: actions that the farm is asked to run at once; 0 stands for what it has.
        beacon_address: where ``--distributed`` asks when no broker is named: a broadcast address of the LAN.
        beacon_port: UDP port that ``--distributed`` asks at when no broker is named.
        beacon_timeout_s: how long ``--distributed`` waits for the first answer.
    """

    role = "client"
    rules: ClassVar[dict[str, Rule]] = {
        **Config.rules,
        "coordinator": _ANY,
        "beacon_address": _ANY,
        "local_fallback": _ANY,
        "local_workers": Rule(minimum=0, maximum=64),
        "parallelism": Rule(minimum=0, maximum=1_000_000),
        "sandbox": Rule(choices=SANDBOXES),
        "priority": Rule(choices=PRIORITIES),
        "beacon_port": Rule(minimum=1, maximum=65_535),
        "beacon_timeout_s": Rule(minimum=0.05, maximum=60),
    }

    coordinator: str = ""
    local_workers: int = 0
    local_fallback: bool = False
    parallelism: int = 0
    sandbox: str = "hermetic"
    priority: str = "normal"
    beacon_address: str = "255.255.255.255"
    beacon_port: int = BEACON_PORT
    beacon_timeout_s: float = 1.0


def user_cache_dir(environ: Mapping[str, str]) -> str:
    """``$XDG_CACHE_HOME/zbuild`` or ``~/.cache/zbuild``, by the XDG Base Directory Specification 0.8.

    The specification has relative values ignored. Without HOME the home directory is the one of the
    user database.

    Raises:
        ConfigError: neither variable is set and the user has no home directory.
    """
    cache = environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):
        return os.path.join(cache, "zbuild")
    home = environ.get("HOME") or _home_of_user()
    return os.path.join(home, ".cache", "zbuild")


def _home_of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError as error:
        raise ConfigError(
            f"no cache directory: HOME and XDG_CACHE_HOME are not set and user {os.getuid()} has no home; set cache_dir"
        ) from error


_ENDPOINT = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9._-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?/?",
    re.ASCII,
)


def normalise_endpoint(text: str, default_port: int = CONTROL_PORT) -> str:
    """``HOST``, ``HOST:9000``, ``http://HOST:9000`` and ``tcp://HOST:9000`` are all ``tcp://HOST:9000``.

    An IPv6 address stands in brackets: ``[::1]:9000``. ``ipc:///DIR/control`` is the Unix socket of a
    broker that was started with --socket-dir.

    Raises:
        BadInput: ``text`` is none of these; the message says why.
    """
    stripped = text.strip()
    if stripped.startswith("ipc:///"):
        return stripped
    match = _ENDPOINT.fullmatch(stripped)
    if match is None:
        bare_six = stripped.count(":") > 1 and re.fullmatch(r"[0-9A-Fa-f:.]+", stripped)
        hint = f"write an IPv6 address as [{stripped}]:{default_port}" if bare_six else "expected HOST or HOST:PORT"
        raise BadInput(f"not a broker address: {text!r}: {hint}")
    scheme = (match["scheme"] or "tcp").lower()
    if scheme not in ("tcp", "http"):
        raise BadInput(f"not a broker address: {text!r}: the scheme is {scheme}, expected tcp or http")
    port = int(match["port"]) if match["port"] is not None else default_port
    if not 1 <= port <= 65_535:
        raise BadInput(f"not a broker address: {text!r}: port {port} is not between 1 and 65535")
    host = f"[{match['six']}]" if match["six"] else match["host"]
    return f"tcp://{host}:{port}"


def _read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _checked(key: str, value: Any, expected: type, rule: Rule, origin: str) -> Any:
    """``value``, as a float where that is ``expected``.

    Raises:
        ConfigError: it has another type, or the value is out of range.
    """
    if expected is float and type(value) is int:
        value = float(value)
    if expected is tuple and type(value) is list and all(type(each) is str for each in value):
        value = tuple(value)
    if type(value) is not expected:
        actual = _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        raise ConfigError(f"{origin}: {key} must be {_TYPE_NAMES[expected]}, not {actual}")
    violation = rule.violation(value)
    if violation is not None:
        raise ConfigError(f"{origin}: {key} {violation}, not {value!r}")
    return value


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    tuple: "an array of strings",
    dict: "a table",
}


def _hint(key: str, valid: Iterable[str]) -> str:
    import difflib

    names = sorted(valid)
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; the keys are {', '.join(names)}"
