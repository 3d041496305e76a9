"""The system call filter, run by an interpreter of classic BPF for every call and the arguments that it judges."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import struct
import subprocess

import pytest

from zbuild.errors import SandboxUnavailable
from zbuild.sandbox.seccomp import ALLOW, KILL_PROCESS, filter_path, filter_program, refusal
from zbuild.sandbox.syscalls import NUMBERS, REFUSED, UNIMPLEMENTED

EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT = map(
    refusal, (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
)
MACHINES = tuple(NUMBERS)
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
HIGH_BITS = 0xDEADBEEF << 32
BEYOND = max(number for numbers in NUMBERS.values() for number in numbers.values()) + 100


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the program answers: the semantics of linux/filter.h, for the instructions that may occur."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    instructions = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x05:
                at += value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"instruction {code:#x}")


def judge(name: str, *arguments: int, machine: str = "x86_64") -> int:
    """The verdict on a call, the same with rubbish in the high half of every argument."""
    program, number = filter_program(machine), NUMBERS[machine][name]
    plain = verdict(program, ARCHITECTURES[machine], number, *arguments)
    assert plain == verdict(program, ARCHITECTURES[machine], number, *(HIGH_BITS | word for word in arguments))
    return plain


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_is_judged_by_its_name(machine: str) -> None:
    names = {number: name for name, number in NUMBERS[machine].items()}
    arguments = (1, 0, 0)  # an AF_UNIX socket; an ioctl that is none of those refused; clone as fork does it; tracing 0
    for number in range(BEYOND):
        name = names.get(number)
        expected = ALLOW
        if name is None or name in UNIMPLEMENTED:
            expected = ENOSYS
        elif name in REFUSED:
            expected = EPERM
        elif name == "personality":
            continue
        assert verdict(filter_program(machine), ARCHITECTURES[machine], number, *arguments) == expected, (number, name)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("number", [0x40000000, 0x40000001, 0x40000200, 0x7FFFFFFF, 0xFFFFFFFF])
def test_numbers_that_no_call_has_are_unimplemented(machine: str, number: int) -> None:
    """x32 calls have bit 30 set."""
    assert verdict(filter_program(machine), ARCHITECTURES[machine], number) == ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_by_another_convention_kill(machine: str) -> None:
    others = {I386, 0x40000028, 0, 0xFFFFFFFF, *ARCHITECTURES.values()} - {ARCHITECTURES[machine]}
    for architecture in others:
        assert verdict(filter_program(machine), architecture, 1) == KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide(machine: str) -> None:
    assert judge("ioctl", 0, 0x5412, machine=machine) == EPERM
    assert judge("ioctl", 0, 0x541C, machine=machine) == EPERM
    assert judge("ioctl", 0x5412, 0x5401, machine=machine) == ALLOW
    for bit in (0x02000000, 0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert judge("clone", bit | 17, machine=machine) == EPERM
    assert judge("clone", 0x003D0F00 | 17, machine=machine) == ALLOW, "a thread"
    for families, expected in ((range(50), EAFNOSUPPORT), ((1, 2, 10, 16), ALLOW)):
        for family in set(families) - ({1, 2, 10, 16} if expected == EAFNOSUPPORT else set()):
            assert judge("socket", family, 2, 0, machine=machine) == expected, family
    for protocol in range(1, 25):
        assert judge("socket", 16, 3, protocol, machine=machine) == EAFNOSUPPORT, protocol
    assert judge("fcntl", 3, 1024, 1, machine=machine) == EPERM
    for command in (*range(17), 36, 37, 38, 1024 + 1, 1024 + 2, 1024 + 6, 1024 + 7, 1024 + 9):
        assert judge("fcntl", 1024, command, machine=machine) == ALLOW, command
    for request in (0, 16, 0x4206):
        assert judge("ptrace", request, 1, machine=machine) == EPERM, request
        assert {judge("ptrace", request, pid, machine=machine) for pid in (0, 2, 257)} == {ALLOW}, request
    assert [judge("socketpair", family, 1, 0, machine=machine) for family in (1, 2, 30)] == [
        ALLOW,
        EAFNOSUPPORT,
        EAFNOSUPPORT,
    ]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_internet_sockets_are_of_protocols_that_builds_use(machine: str, family: int) -> None:
    allowed = {0, socket.IPPROTO_ICMP, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMPV6, 262}
    for protocol in (*range(300), 0x7FFFFFFF, 0xFFFFFFFF):
        expected = ALLOW if protocol in allowed else EPROTONOSUPPORT
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC):
            assert judge("socket", family, kind, protocol, machine=machine) == expected, protocol


def test_personalities_of_setarch_and_sanitizers_alone() -> None:
    for wanted in (0, 0x8, 0x20000, 0x40000, 0x40008, 0xFFFFFFFF):
        assert judge("personality", wanted) == ALLOW, hex(wanted)
    for unwanted in (0x100000, 0x400000, 0x440000, 0x7FFFFFFF, 1):
        assert judge("personality", unwanted) == EPERM, hex(unwanted)


def test_program_is_small_and_every_jump_lands_inside() -> None:
    for machine in MACHINES:
        instructions = list(struct.iter_unpack("=HBBI", filter_program(machine)))
        assert len(instructions) < 256
        for at, (code, if_true, if_false, value) in enumerate(instructions):
            distances = (value,) if code == 0x05 else (if_true, if_false)
            assert all(at + 1 + distance <= len(instructions) for distance in distances)
        assert instructions[-1][0] == 0x06


def test_each_refused_call_is_a_call() -> None:
    every = set().union(*NUMBERS.values())
    assert every >= REFUSED
    assert every >= UNIMPLEMENTED


@pytest.mark.needs("gcc")
@pytest.mark.parametrize(
    ("machine", "source"),
    [
        ("x86_64", "#undef __i386__\n#define __x86_64__ 1\n#include <asm/unistd_64.h>\n"),
        (
            "aarch64",
            "#define __ARCH_WANT_RENAMEAT\n#define __ARCH_WANT_NEW_STAT\n#define __ARCH_WANT_SET_GET_RLIMIT\n"
            "#define __ARCH_WANT_TIME32_SYSCALLS\n#define __ARCH_WANT_SYS_CLONE3\n#define __ARCH_WANT_MEMFD_SECRET\n"
            "#define __BITS_PER_LONG 64\n#include <asm-generic/unistd.h>\n",
        ),
    ],
)
def test_numbers_are_those_of_the_kernel_headers(machine: str, source: str) -> None:
    done = subprocess.run(["gcc", "-E", "-dM", "-xc", "-"], input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the headers for {machine} are not installed")
    defined = dict(re.findall(r"^#define (__NR\w+) (\S+)$", done.stdout, re.MULTILINE))
    known = {}
    for name, text in defined.items():
        value = text
        while value in defined:
            value = defined[value]
        if value.isdecimal() and name.startswith("__NR_"):
            known[name.removeprefix("__NR_")] = int(value)
    ours = NUMBERS[machine]
    assert len(ours.keys() & known.keys()) > 290
    assert {name: ours[name] for name in ours.keys() & known.keys()} == {
        name: known[name] for name in ours.keys() & known.keys()
    }
    unlisted = {number for name, number in known.items() if number not in ours.values() and number < 300}
    obsolete = {174, 177, 178, 180, 181, 182, 183, 184, 185, 214, 215, 236} if machine == "x86_64" else {42, 244}
    assert unlisted <= obsolete


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(SandboxUnavailable, match="filter for aarch64, x86_64, and none for vax"):
        filter_program("vax")


def test_each_opening_reads_the_program_which_nobody_can_change() -> None:
    descriptors = []
    for _ in range(2):
        descriptors.append(os.open(filter_path(), os.O_RDONLY))
        assert os.read(descriptors[-1], 65536) == filter_program()
    for descriptor in descriptors:
        os.close(descriptor)
    with pytest.raises(PermissionError):
        os.write(int(filter_path().rpartition("/")[2]), b"x")
    seals = fcntl.fcntl(int(filter_path().rpartition("/")[2]), fcntl.F_GET_SEALS)
    assert seals == fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
