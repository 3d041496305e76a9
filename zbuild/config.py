"""The settings of every role: each key, its type, its range and its default, and the TOML files that change them.

A flag overrides the file and the file overrides the default. conf/ holds one file per role that
lists every key at its default; tests/unit/test_config.py holds the two together.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from zbuild.errors import BadInput, ConfigError
from zbuild.limits import GIB, MIB

CONTROL_PORT = 9000
HEARTBEAT_PORT = 9001
BLOB_PORT = 9003
BEACON_PORT = 9004
"""UDP, and apart from the four TCP ports so that a firewall rule can name it."""

EMBEDDED_WORKERS = 2
"""Workers of a farm that a build starts for itself: two, so that whatever breaks between workers shows at home."""

SANDBOXES = ("hermetic",)
"""Levels that a worker can be asked for; an unknown or unavailable one is refused, never weakened."""

PRIORITIES = ("low", "normal", "high", "critical")


@dataclass(frozen=True)
class Rule:
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


def _setting(default: Any, **rule: Any) -> Any:
    return field(default=default, metadata={"rule": Rule(**rule)})


def _port(default: int) -> Any:
    """0 asks the system for a free port."""
    return _setting(default, minimum=0, maximum=65_535)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the settings of all roles share: where things are kept on disk, and how much of them.

    Attributes:
        cache_dir: empty stands for the role's directory below the user's cache directory.
        cache_bytes: size at which eviction begins.
    """

    role: ClassVar[str]

    cache_dir: str = ""
    cache_bytes: int = _setting(20 * GIB, minimum=64 * MIB)

    def directory(self, environ: Mapping[str, str]) -> Path:
        """Where this role keeps its blobs and logs; it need not exist yet."""
        if self.cache_dir:
            return Path(self.cache_dir).absolute()
        return user_cache_dir(environ) / self.role

    def with_overrides(self, overrides: Mapping[str, Any], origin: str = "command line") -> Self:
        """These settings with those of ``overrides`` that are not None.

        Raises:
            ConfigError: a key does not exist here, or its value has the wrong type or range.
        """
        fields = {each.name: each for each in dataclasses.fields(self)}
        changes = {key: value for key, value in overrides.items() if value is not None}
        for key, value in changes.items():
            if key not in fields:
                raise ConfigError(f"{origin}: unknown key {key!r}{_hint(key, fields)}")
            changes[key] = _checked(fields[key], value, origin)
        return dataclasses.replace(self, **changes)

    @classmethod
    def load(cls, path: Path | None, overrides: Mapping[str, Any] | None = None) -> Self:
        """The defaults, changed by the TOML file at ``path`` if there is one, then by ``overrides``.

        Raises:
            ConfigError: the file cannot be read or parsed, or a key or value in it is not valid.
        """
        config = cls()
        if path is not None:
            config = config.with_overrides(_read_toml(path), origin=str(path))
        return config.with_overrides(overrides or {})


@dataclass(frozen=True, kw_only=True)
class BrokerConfig(Config):
    """Settings of ``zbuild-broker``, in conf/broker.toml.

    Attributes:
        host: address to listen at. Loopback unless told otherwise, for there is no authentication yet.
        worker_timeout_s: silence after which a worker counts as lost.
        heartbeat_interval_s: how often workers publish their load; they learn it when they register.
        beacon: whether ``zbuild build --distributed`` on the same network may find this broker by UDP.
    """

    role: ClassVar[str] = "broker"

    host: str = "127.0.0.1"
    port: int = _port(CONTROL_PORT)
    heartbeat_port: int = _port(HEARTBEAT_PORT)
    blob_port: int = _port(BLOB_PORT)
    max_workers: int = _setting(1000, minimum=1, maximum=100_000)
    worker_timeout_s: float = _setting(30.0, minimum=0.1)
    heartbeat_interval_s: float = _setting(5.0, minimum=0.05)
    beacon: bool = True
    beacon_port: int = _port(BEACON_PORT)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(Config):
    """Settings of ``zbuild-worker``, in conf/worker.toml.

    Attributes:
        parallelism: actions at once; 0 stands for the number of processors this process may use.
        name: how the worker is called in ``zbuild status``; empty stands for the host's name.
        local_queue_size: leases held beyond the running ones, so that a slot never waits for the network.
    """

    role: ClassVar[str] = "worker"

    coordinator: str = f"tcp://127.0.0.1:{CONTROL_PORT}"
    parallelism: int = _setting(0, minimum=0, maximum=4096)
    name: str = ""
    sandbox: str = _setting("hermetic", choices=SANDBOXES)
    local_queue_size: int = _setting(256, minimum=0, maximum=65_536)


@dataclass(frozen=True, kw_only=True)
class ClientConfig(Config):
    """Settings of ``zbuild build`` and the other client commands, in conf/client.toml.

    Attributes:
        coordinator: a broker; empty stands for the farm that the command starts for itself.
        local_workers: workers started on this machine beside a broker elsewhere.
        parallelism: actions that the farm is asked to run at once; 0 stands for what it has.
        beacon_address: where ``--distributed`` asks when no broker is named: a broadcast address of the LAN.
        beacon_port: UDP port that ``--distributed`` asks at when no broker is named.
        beacon_timeout_s: how long ``--distributed`` waits for the first answer.
    """

    role: ClassVar[str] = "client"

    coordinator: str = ""
    local_workers: int = _setting(0, minimum=0, maximum=64)
    parallelism: int = _setting(0, minimum=0, maximum=1_000_000)
    sandbox: str = _setting("hermetic", choices=SANDBOXES)
    priority: str = _setting("normal", choices=PRIORITIES)
    beacon_address: str = "255.255.255.255"
    beacon_port: int = _setting(BEACON_PORT, minimum=1, maximum=65_535)
    beacon_timeout_s: float = _setting(1.0, minimum=0.05, maximum=60)


def user_cache_dir(environ: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/zbuild`` or ``~/.cache/zbuild``, by the XDG Base Directory Specification 0.8.

    The specification has relative values ignored. Without HOME the home directory is the one of the
    user database.

    Raises:
        ConfigError: neither variable is set and the user has no home directory.
    """
    cache = environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):
        return Path(cache) / "zbuild"
    home = environ.get("HOME") or _home_of_user()
    return Path(home) / ".cache" / "zbuild"


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


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _checked(key: dataclasses.Field[Any], value: Any, origin: str) -> Any:
    """``value``, as a float where the default is one.

    Raises:
        ConfigError: the type is not the default's, or the value is out of range.
    """
    expected = type(key.default)
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        actual = _TYPE_NAMES.get(type(value), f"a {type(value).__name__}")
        raise ConfigError(f"{origin}: {key.name} must be {_TYPE_NAMES[expected]}, not {actual}")
    violation = key.metadata.get("rule", Rule()).violation(value)
    if violation is not None:
        raise ConfigError(f"{origin}: {key.name} {violation}, not {value!r}")
    return value


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "a table",
}


def _hint(key: str, valid: Iterable[str]) -> str:
    import difflib

    names = sorted(valid)
    near = difflib.get_close_matches(key, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; the keys are {', '.join(names)}"
