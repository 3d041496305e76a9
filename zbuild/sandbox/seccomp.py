"""The filter that the kernel asks about every system call of a sandboxed command, as a program of classic BPF.

A program is an array of ``struct sock_filter`` (linux/filter.h). It finds the range that a number lies in by
halving, so that it has 220 instructions where libseccomp's has 480. The kernel compiles it, and tries it with every
number, at each start of a sandbox, once for bubblewrap's PID 1 and once for the command. Measured, for each of the
two: 55 us where libseccomp's program, in its own binary tree, takes 103 us, and as a plain list 300 us.

Only the low 32 bits of an argument are looked at, because the kernel itself takes no more of those that are judged
here. A comparison of all 64 is what let TIOCSTI through: CVE-2019-10063.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from zbuild.errors import SandboxUnavailable
from zbuild.sandbox.syscalls import NUMBERS, REFUSED, UNIMPLEMENTED

_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of linux/audit.h. A call by another convention, such as i386's int 0x80, has other numbers."""

_NUMBER_OFFSET = 0
_ARCHITECTURE_OFFSET = 4
_ARGUMENTS_OFFSET = 16
"""In struct seccomp_data. An argument has 8 bytes, and on both machines the low half comes first."""

_LOAD = 0x20
_JUMP = 0x05
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_ANY_BIT = 0x45
_RETURN = 0x06
"""BPF_LD|W|ABS, JMP|JA, JMP|JEQ|K, JMP|JGE|K, JMP|JSET|K and RET|K of linux/bpf_common.h."""

KILL_PROCESS = 0x8000_0000
ALLOW = 0x7FFF_0000
_ERRNO = 0x0005_0000
"""SECCOMP_RET_* of linux/seccomp.h."""

_FURTHEST_JUMP = 255
"""A conditional jump has one byte for its distance."""

_TIOCSTI = 0x5412
_TIOCLINUX = 0x541C
"""Both put characters into a terminal's input: CVE-2017-5226, CVE-2023-28100. asm-generic/ioctls.h."""

_NEW_NAMESPACES = 0x7E02_0000
"""Every CLONE_NEW* of linux/sched.h that clone takes; CLONE_NEWTIME's bit belongs to the exit signal there."""

_PERSONALITIES = 0x0006_0008
"""UNAME26, ADDR_NO_RANDOMIZE, PER_LINUX32 of linux/personality.h: setarch, debuggers and sanitizers."""
_PERSONALITY_QUERY = 0xFFFF_FFFF

_FIRST_PROCESS = 1
"""bubblewrap's own in every sandbox: see FIRST_PROCESS_MASK in bubblewrap.py."""

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
"""AF_* of linux/socket.h. Listing the interfaces, as getaddrinfo does, takes a netlink socket of this protocol."""

_INTERNET_PROTOCOLS = (0, 1, 6, 17, 58, 262)
"""The one that the type implies, ICMP, TCP, UDP, ICMPv6, MPTCP: linux/in.h. A socket of another, such as SCTP or DCCP
(CVE-2017-6074), makes the kernel load a module for whoever asks."""

_F_SETLEASE = 1024
"""linux/fcntl.h. Inputs are the store's own inodes and owned by the action: whoever opens a file with a write lease,
be it the worker or the store, is held up for 45 s each time (fs.lease-break-time)."""


_NEVER_CHANGED = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_FIRST_DESCRIPTOR = 10
"""The descriptor of the filter is none of those that a command or bubblewrap is started with."""


def refusal(code: int) -> int:
    """The verdict that makes a call fail with that errno."""
    return _ERRNO | code


_EPERM = refusal(errno.EPERM)
_ENOSYS = refusal(errno.ENOSYS)
_EAFNOSUPPORT = refusal(errno.EAFNOSUPPORT)
_EPROTONOSUPPORT = refusal(errno.EPROTONOSUPPORT)


@dataclass(frozen=True, slots=True)
class _Instruction:
    code: int
    value: int
    if_true: int = 0
    if_false: int = 0

    def encoded(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.value)


_Program = tuple[_Instruction, ...]


def _verdict(value: int) -> _Program:
    return (_Instruction(_RETURN, value),)


def _when(code: int, value: int, then: _Program, otherwise: _Program) -> _Program:
    """``then`` goes on with ``otherwise`` where it does not end in a verdict."""
    if len(then) <= _FURTHEST_JUMP:
        return (_Instruction(code, value, if_false=len(then)), *then, *otherwise)
    long_jump = _Instruction(_JUMP, len(then))
    return (_Instruction(code, value, if_false=0, if_true=1), long_jump, *then, *otherwise)


def _load_argument(index: int) -> _Program:
    return (_Instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * index),)


def _equal(value: int, then: _Program, otherwise: _Program) -> _Program:
    return _when(_JUMP_EQUAL, value, then, otherwise)


def _any_bit(bits: int, then: _Program, otherwise: _Program) -> _Program:
    return _when(_JUMP_ANY_BIT, bits, then, otherwise)


def _internet() -> _Program:
    program = _verdict(_EPROTONOSUPPORT)
    for protocol in _INTERNET_PROTOCOLS:
        program = _equal(protocol, _verdict(ALLOW), program)
    return (*_load_argument(2), *program)


_JUDGED: dict[str, _Program] = {
    "fcntl": (*_load_argument(1), *_equal(_F_SETLEASE, _verdict(_EPERM), _verdict(ALLOW))),
    "ioctl": (
        *_load_argument(1),
        *_equal(_TIOCSTI, _verdict(_EPERM), _equal(_TIOCLINUX, _verdict(_EPERM), _verdict(ALLOW))),
    ),
    "clone": (*_load_argument(0), *_any_bit(_NEW_NAMESPACES, _verdict(_EPERM), _verdict(ALLOW))),
    "ptrace": (*_load_argument(1), *_equal(_FIRST_PROCESS, _verdict(_EPERM), _verdict(ALLOW))),
    "personality": (
        *_load_argument(0),
        *_equal(
            _PERSONALITY_QUERY,
            _verdict(ALLOW),
            _any_bit(~_PERSONALITIES & 0xFFFF_FFFF, _verdict(_EPERM), _verdict(ALLOW)),
        ),
    ),
    "socket": (
        *_load_argument(0),
        *_equal(_UNIX, _verdict(ALLOW), ()),
        *_equal(_NETLINK, (*_load_argument(2), *_equal(_NETLINK_ROUTE, _verdict(ALLOW), _verdict(_EAFNOSUPPORT))), ()),
        *_equal(_INET, _internet(), _equal(_INET6, _internet(), _verdict(_EAFNOSUPPORT))),
    ),
    "socketpair": (*_load_argument(0), *_equal(_UNIX, _verdict(ALLOW), _verdict(_EAFNOSUPPORT))),
}
"""Calls whose arguments decide. AF_PACKET, AF_VSOCK, AF_ALG, AF_XDP and some forty more have no use in a build."""


@functools.cache
def filter_program(machine: str = "") -> bytes:
    """The program for a machine, this one by default.

    Raises:
        SandboxUnavailable: its system calls are not known here.
    """
    machine = machine or platform.machine()
    if machine not in NUMBERS:
        known = ", ".join(sorted(NUMBERS))
        raise SandboxUnavailable(f"the hermetic sandbox has a system call filter for {known}, and none for {machine}")
    rules: dict[int, _Program] = {}
    for name, number in NUMBERS[machine].items():
        if name in UNIMPLEMENTED:
            continue
        rules[number] = _verdict(_EPERM) if name in REFUSED else _JUDGED.get(name, _verdict(ALLOW))
    judgement = (_Instruction(_LOAD, _NUMBER_OFFSET), *_search(_ranges(rules)))
    program = (
        _Instruction(_LOAD, _ARCHITECTURE_OFFSET),
        *_equal(_AUDIT_ARCHITECTURES[machine], judgement, _verdict(KILL_PROCESS)),
    )
    return b"".join(instruction.encoded() for instruction in program)


@functools.cache
def filter_path() -> str:
    """A path, good in this process and its children, at which each opening finds the program from its beginning.

    It is a memory file that can no longer be changed.

    Raises:
        SandboxUnavailable: see filter_program.
    """
    program = filter_program()
    first = os.memfd_create("zbuild-seccomp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(first, program)
        fcntl.fcntl(first, fcntl.F_ADD_SEALS, _NEVER_CHANGED)
        descriptor = fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    finally:
        os.close(first)
    return f"/proc/self/fd/{descriptor}"


os.register_at_fork(after_in_child=filter_path.cache_clear)
"""A forked process closes what it was not given: see module_process.py."""


def _ranges(rules: Mapping[int, _Program]) -> list[tuple[int, _Program]]:
    """(first number, what to do from there up to the next first number), for all numbers there are."""
    unknown = _verdict(_ENOSYS)
    ranges: list[tuple[int, _Program]] = [(0, rules.get(0, unknown))]
    for number in range(1, max(rules) + 2):
        rule = rules.get(number, unknown)
        if rule != ranges[-1][1]:
            ranges.append((number, rule))
    return ranges


def _search(ranges: list[tuple[int, _Program]]) -> _Program:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    return _when(_JUMP_GREATER_EQUAL, ranges[middle][0], _search(ranges[middle:]), _search(ranges[:middle]))
