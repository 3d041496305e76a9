"""A TCP proxy that spoils links on command: ``python -m chaos.proxy SEED``, driven through its stdin.

Commands are JSON objects, one a line: {"listen": [[host, port], ...], "to": [[host, port], ...], "link": NAME} opens a
link with one or more ports; {"link": NAME, "condition": {...}} changes what it does. Each is answered by one line.
The proxy ends when its stdin is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
import time
from collections.abc import Coroutine
from random import Random
from typing import Any

from chaos.condition import Condition

QUEUED_PIECES = 64
"""Pieces on their way in one direction: 4 MiB, what TCP's buffers hold on a fast link."""


class Link:
    """The ports of one peer, and what becomes of their connections."""

    def __init__(self, random: Random) -> None:
        self.condition = Condition()
        self.random = random
        self._changed = asyncio.Event()
        self._connections: set[Connection] = set()

    def change(self, condition: Condition) -> None:
        self.condition = condition
        self._changed.set()
        self._changed = asyncio.Event()
        if condition.refuses:
            for connection in list(self._connections):
                connection.reset()

    async def passable(self, *, is_up: bool) -> None:
        """Wait while that direction is held."""
        while self.condition.holds_up if is_up else self.condition.holds_down:
            await self._changed.wait()

    async def hearing(self) -> None:
        """Wait while new connections do not go on."""
        while self.condition.is_deaf:
            await self._changed.wait()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
        """Carry one connection until it ends."""
        if self.condition.refuses:
            _reset(writer)
            return
        await self.hearing()
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
        except OSError:
            _reset(writer)
            return
        connection = Connection(self, writer, far_writer)
        self._connections.add(connection)
        try:
            await connection.carry(reader, far_reader)
        finally:
            self._connections.discard(connection)


class Connection:
    """Two pumps."""

    def __init__(self, link: Link, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._link = link
        self._near = near
        self._far = far

    def reset(self) -> None:
        """End it as a firewall does."""
        _reset(self._near)
        _reset(self._far)

    async def carry(self, near: asyncio.StreamReader, far: asyncio.StreamReader) -> None:
        """Pass bytes both ways until both sides have closed, or one was reset."""
        tasks = [
            asyncio.create_task(self._pump(near, self._far, is_up=True)),
            asyncio.create_task(self._pump(far, self._near, is_up=False)),
        ]
        try:
            await asyncio.gather(*tasks)
        except OSError:
            self.reset()
        finally:
            for task in tasks:
                task.cancel()
            for writer in (self._near, self._far):
                writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_up: bool) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_PIECES)
        writing = asyncio.create_task(self._write(queue, writer, is_up=is_up))
        try:
            while data := await reader.read(self._link.condition.piece_bytes):
                condition, random = self._link.condition, self._link.random
                if random.random() < condition.reset_chance:
                    raise ConnectionResetError
                late_s = condition.delay_s + random.random() * condition.jitter_s
                if random.random() < condition.stall_chance:
                    late_s += condition.stall_s
                if random.random() < condition.flip_chance:
                    data = _with_flipped_bit(data, random)
                putting = asyncio.create_task(queue.put((time.monotonic() + late_s, data)))
                await asyncio.wait([putting, writing], return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    putting.cancel()
                    raise ConnectionResetError
            await queue.put((0.0, b""))
            await writing
        finally:
            writing.cancel()

    async def _write(
        self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        while True:
            due_s, data = await queue.get()
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            await self._link.passable(is_up=is_up)
            if not data:
                break
            writer.write(data)
            await writer.drain()
            if rate := self._link.condition.bytes_per_s:
                await asyncio.sleep(len(data) / rate)
        while self._link.condition.hides_close:
            await asyncio.sleep(0.05)
        with contextlib.suppress(OSError):
            writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST: linger on, for no time."""
    made: socket.socket | None = writer.get_extra_info("socket")
    if made is not None:
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _with_flipped_bit(data: bytes, random: Random) -> bytes:
    spoiled = bytearray(data)
    spoiled[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(spoiled)


class Proxy:
    """All links of one process."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._links: dict[str, Link] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def obey(self, command: dict[str, Any]) -> None:
        """Carry out one command."""
        if "condition" in command:
            self._links[command["link"]].change(Condition(**command["condition"]))
            return
        link = self._links[command["link"]] = Link(Random(self._random.random()))
        for (host, port), (to_host, to_port) in zip(command["listen"], command["to"], strict=True):
            accept = self._acceptor(link, (to_host, to_port))
            self._servers.append(await asyncio.start_server(accept, host, port))

    def _acceptor(self, link: Link, target: tuple[str, int]) -> Any:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._keep(link.accept(reader, writer, target))

        return accept

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The loop holds its tasks by weak references only."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def serve(seed: int) -> None:
    """Obey stdin until it is closed."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    proxy = Proxy(seed)
    while line := await reader.readline():
        try:
            await proxy.obey(json.loads(line))
        except OSError as error:
            answer = str(error)
        else:
            answer = "ok"
        print(answer, flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
