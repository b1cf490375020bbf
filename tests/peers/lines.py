"""A stream of JSON-RPC lines as a transport of the Python SDK. The checklist uses it over a Unix socket, the crowd also over
`mcpool connect`, with `tap` to count what really came: the SDK itself would drop a second answer in silence.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

LIMIT = 64 * 1024 * 1024  # bytes in one line
Tap = Callable[[str, Any], None]


@asynccontextmanager
async def over_socket(path: str, tap: Tap | None = None) -> AsyncIterator[Any]:
    """The two message streams over a Unix socket."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LIMIT)
    async with over_lines(reader, writer, tap) as streams:
        yield streams


@asynccontextmanager
async def over_command(command: list[str], tap: Tap | None = None) -> AsyncIterator[Any]:
    """The two message streams over a command's stdin and stdout; it leaves when stdin is closed, or is killed after 5 s."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LIMIT
    )
    try:
        async with over_lines(process.stdout, process.stdin, tap) as streams:
            yield streams
    finally:
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@asynccontextmanager
async def over_lines(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tap: Tap | None = None
) -> AsyncIterator[Any]:
    into, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_send, outgoing = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        async with into:
            while line := await reader.readline():
                try:
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError as error:
                    await into.send(error)
                    continue
                if tap:
                    tap("received", message)
                await into.send(SessionMessage(message))

    async def write() -> None:
        async with outgoing:
            async for item in outgoing:
                if tap:
                    tap("sent", item.message)
                writer.write(item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await writer.drain()

    tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
    try:
        yield received, to_send
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
