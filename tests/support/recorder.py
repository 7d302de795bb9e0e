"""A process that records events forever and prints each identifier only after it was acknowledged.

python recorder.py STATE_URL NAME
"""

import asyncio
import sys
from datetime import UTC, datetime

from image_syncer.state import NewEvent, open_state


async def record(url: str, name: str) -> None:
    """Record events from eight tasks until killed."""
    async with open_state(url) as state, asyncio.TaskGroup() as group:

        async def stream(lane: int) -> None:
            number = 0
            while True:
                number += 1
                [event] = await state.events.record(
                    [NewEvent(name, "a.test/app", f"{lane}-{number}", delivery=f"{lane}-{number}")],
                    now=datetime.now(UTC),
                )
                sys.stdout.write(f"{event}\n")
                sys.stdout.flush()

        for lane in range(8):
            group.create_task(stream(lane), name=f"lane-{lane}")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1], sys.argv[2]))
