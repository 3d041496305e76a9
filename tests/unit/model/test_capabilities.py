"""What is asked for against what is granted, and what a stranger may write there."""

from __future__ import annotations

import msgspec
import pytest

from zbuild.errors import BadInput
from zbuild.limits import CAPABILITY_PATHS, MIB
from zbuild.model.capabilities import DEFAULT, Capabilities, capabilities_of

CEILING = Capabilities(
    network=False,
    write_home=False,
    write_tmp=False,
    read_paths=("/opt/sdk", "/srv/data"),
    write_paths=("/var/cache/tool",),
    max_cpu=2,
    max_memory_bytes=512 * MIB,
    timeout_s=60.0,
)
ASKS_NOTHING = Capabilities(write_tmp=False, timeout_s=1.0)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"network": True}, "network=true (it grants false)"),
        ({"write_home": True}, "write_home=true (it grants false)"),
        ({"write_tmp": True}, "write_tmp=true (it grants false)"),
        ({"read_paths": ("/opt/sdk2",)}, "read_paths=/opt/sdk2 (it grants /opt/sdk, /srv/data, /var/cache/tool)"),
        ({"write_paths": ("/opt/sdk",)}, "write_paths=/opt/sdk (it grants /var/cache/tool)"),
        ({"max_cpu": 3}, "max_cpu=3 (it grants 2)"),
        ({"max_memory_bytes": 513 * MIB}, "max_memory=513 MiB (it grants 512 MiB)"),
        ({"write_paths": ("/var/cache/tool/x",)}, "write_paths=/var/cache/tool/x (it grants /var/cache/tool)"),
        (
            {"read_paths": ("/var/cache/tool/x",)},
            "read_paths=/var/cache/tool/x (it grants /opt/sdk, /srv/data, /var/cache/tool)",
        ),
        ({"timeout_s": 61.0}, "timeout=61 s (it grants 60 s)"),
    ],
)
def test_what_is_beyond_the_ceiling_is_named(asked: dict[str, object], complaint: str) -> None:
    assert msgspec.structs.replace(ASKS_NOTHING, **asked).beyond(CEILING) == [complaint]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"read_paths": ("/opt/sdk", "/opt/sdk/bin", "/var/cache/tool")},
        {"write_paths": ("/var/cache/tool",)},
        {"max_cpu": 2},
        {"max_memory_bytes": 512 * MIB},
        {"timeout_s": 60.0},
    ],
)
def test_what_is_at_the_ceiling_is_granted(asked: dict[str, object]) -> None:
    assert msgspec.structs.replace(ASKS_NOTHING, **asked).beyond(CEILING) == []


@pytest.mark.parametrize("name", ["read_paths", "write_paths"])
@pytest.mark.parametrize("wider", [{"read_paths": ("/srv",)}, {"write_paths": ("/srv", "/srv/data")}])
def test_nothing_below_what_actions_may_write_is_granted(name: str, wider: dict[str, object]) -> None:
    """Not even where a wider path is granted: the way there goes through what an action has made."""
    ceiling = capabilities_of({"write_paths": ("/srv/data",)} | wider)
    assert len(capabilities_of({name: ("/srv/data/x",)}).beyond(ceiling)) == 1


def test_a_symlink_grants_nothing() -> None:
    links = {
        "/opt/sdk/out": "/etc",
        "/opt/sdk/in": "/opt/sdk/bin",
        "/var/cache/tool": "/data/tool",
        "/opt/sdk/deep": "/data/tool/x",
    }

    def real_path(path: str) -> str:
        return links.get(path, path)

    asked = capabilities_of(
        {"read_paths": ("/opt/sdk/deep", "/opt/sdk/in", "/opt/sdk/out"), "write_paths": ("/var/cache/tool",)}
    )
    assert asked.strayed(real_path, CEILING) == [
        "/opt/sdk/deep (it leads to /data/tool/x)",
        "/opt/sdk/out (it leads to /etc)",
    ]
    assert ASKS_NOTHING.strayed(real_path, CEILING) == []


def test_a_ceiling_without_bounds_grants_any_number() -> None:
    assert Capabilities(max_cpu=512, max_memory_bytes=2**50).beyond(Capabilities()) == []


def test_all_that_is_beyond_is_named_at_once() -> None:
    assert len(Capabilities(network=True, timeout_s=61.0).beyond(CEILING)) == 3


def test_the_ceiling_bounds_what_asks_for_no_number() -> None:
    assert DEFAULT.under(CEILING).max_memory_bytes == 512 * MIB
    asked = Capabilities(max_cpu=1, max_memory_bytes=MIB, timeout_s=5.0)
    assert asked.under(CEILING) == asked


@pytest.mark.parametrize(
    ("asked", "is_sealed"),
    [
        ({}, True),
        ({"write_home": True, "max_cpu": 1}, True),
        ({"network": True}, False),
        ({"read_paths": ("/opt",)}, False),
        ({"write_paths": ("/opt",)}, False),
    ],
)
def test_what_sees_more_than_its_key_is_not_sealed(asked: dict[str, object], is_sealed: bool) -> None:
    assert capabilities_of(asked).is_sealed is is_sealed


def test_the_default_time_is_that_of_the_seed() -> None:
    assert DEFAULT.timeout_s == 600.0


@pytest.mark.parametrize(
    "hostile",
    [
        {"timeout_s": 0.0},
        {"timeout_s": -1.0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"max_cpu": -1},
        {"max_cpu": 10**9},
        {"max_memory_bytes": -1},
        {"max_memory_bytes": 2**54},
        {"network": 1},
        {"read_paths": ["relative"]},
        {"read_paths": ["/a/../b"]},
        {"read_paths": ["/a//b"]},
        {"read_paths": ["/a\0b"]},
        {"read_paths": ["/" + "x" * 5000]},
        {"write_paths": [""]},
        {"write_paths": ["/a"] * (CAPABILITY_PATHS + 1)},
    ],
)
def test_hostile_values_are_refused(hostile: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        capabilities_of(hostile)
