"""The hashes and versions of build logs."""

from __future__ import annotations

import pytest

from zbuild.ninja.command_hash import command_hash, command_hashes, murmurhash64a, rapidhash
from zbuild.ninja.version import build_log_version, parse_version

_LONG = ": " + "abcdefghij" * 40
_LOGGED = [
    # Command, and its hash in the logs of ninja 1.11.1 and 1.13.0, which ran it.
    (":", 0x2E49D2477C6737F0, 0xA2DA22321247804B),
    ("w", 0x731D52227F797EA0, 0x98E73D319677DDBE),
    (": a", 0xF2D1360F1675BFB3, 0xBAE980166742C4CE),
    ("true", 0x486A3ACADD116B47, 0x90A52A5DCA2ED61),
    ("touch x", 0x6408E6F794C5CB15, 0x7E36D58D2C566A50),
    (": 789012", 0x666EFF70B7F03D5, 0x176A5A40B2727340),
    (": 7890123456789", 0x120C099999505AF0, 0xF44FE27B6D1398C1),
    (": 78901234567890", 0x3C9DDEA108AEBFEF, 0xD765F9DD4AE13FD8),
    (": 789012345678901", 0xFAFB7AE8A8970AB4, 0xA38368E1B5957A4D),
    (_LONG[:32], 0x72802ED1E4B46199, 0x2926BB06A6451F86),
    (_LONG[:33], 0x1F6B6C5F6CDA4500, 0x5E45752FFF2A9F6),
    (_LONG[:47], 0xF1485A32D994C965, 0x845BD5442E6CFA4B),
    (_LONG[:48], 0x9D4792FED7597423, 0x991B38D5F2FA484A),
    (_LONG[:49], 0x10CB17BB408EC7B0, 0x749F63952B9C3D4),
    (_LONG[:64], 0xC0EC59B36504908C, 0x48CD9ACA28DCCB0D),
    (_LONG[:95], 0xE75F0F36AA32815, 0xF44CBBACCE41F051),
    (_LONG[:96], 0xCCD795537C9DF87, 0xEF7A04905BAB3A6B),
    (_LONG[:97], 0x50BAC8A846947676, 0xA0EF6FCACBB9EF57),
    (_LONG[:200], 0xD6D72C2B91B38DC8, 0xDECC66215A48BCD6),
]


@pytest.mark.parametrize(("command", "murmur", "rapid"), _LOGGED)
def test_hashes_are_those_that_ninja_logs(command: str, murmur: int, rapid: int) -> None:
    assert command_hash(command, 5) == command_hash(command, 6) == murmur
    assert command_hash(command, 7) == rapid


def test_many_hashes_at_once() -> None:
    commands, murmurs, rapids = zip(*_LOGGED, strict=True)
    assert command_hashes(commands, 5) == list(murmurs)
    assert command_hashes(commands, 7) == list(rapids)
    assert command_hashes([], 5) == []


def test_hashes_of_nothing() -> None:
    assert command_hashes(["", "x"], 6) == [murmurhash64a(b""), murmurhash64a(b"x")]
    assert rapidhash(b"") == 0x5A6EF77074EBC84B


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.10.2", 5),
        ("1.11.1", 5),
        ("1.12.0", 6),
        ("1.12.1", 6),
        ("1.13.0", 7),
        ("1.13.0.git.kitware", 7),
        ("2.0", 7),
        ("0.9", 5),
        ("", 5),
    ],
)
def test_the_log_version_of_each_ninja(version: str, expected: int) -> None:
    assert build_log_version(version) == expected


def test_versions_are_read_leniently() -> None:
    assert [parse_version(text) for text in ("1", "1.2", "1.2.3.git", "1.x", "x", "")] == [
        (1, 0),
        (1, 2),
        (1, 2),
        (1, 0),
        (0, 0),
        (0, 0),
    ]
