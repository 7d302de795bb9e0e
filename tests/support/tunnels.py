"""What a proxy does once both of its connections are open."""

import asyncio


async def relay(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    inner_reader: asyncio.StreamReader,
    inner_writer: asyncio.StreamWriter,
) -> None:
    """Send what each connection receives to the other, until both have ended."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_pipe(reader, inner_writer))
        group.create_task(_pipe(inner_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # One end is closed; the other follows.
    finally:
        writer.close()
