"""A process that claims and marks events forever, and prints each identifier only after it was marked.

python claimer.py STATE_URL
"""

import asyncio
import sys
from datetime import UTC, datetime

from image_syncer.state import open_state


async def claim(url: str) -> None:
    """Claim a few events and mark all but the last, until killed."""
    async with open_state(url) as state:
        while True:
            claimed = await state.events.claim(5, now=datetime.now(UTC))
            for event in claimed[:-1]:
                await state.events.mark_dispatched([event.id], now=datetime.now(UTC))
                sys.stdout.write(f"{event.id}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(claim(sys.argv[1]))
