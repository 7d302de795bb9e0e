"""Processes that a test may kill: `python -m jobs.processes work|ask URL`."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from image_syncer.jobs import CopyJob, Handlers, RuleJob, open_jobs
from image_syncer.structs import replace
from jobs.workbench import QUICK, wanted


def say(*words: object) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def work(url: str) -> None:
    """Begin every job, say so, and end none."""

    async def copy(job: CopyJob) -> None:
        say("begun", job.id)
        await asyncio.sleep(600)

    async def rule(job: RuleJob) -> None:
        say("begun", job.id)

    async with open_jobs(url) as jobs:
        say("open")
        options = replace(QUICK, concurrency=5)
        await jobs.run_worker(Handlers(copy, rule), options, stop=asyncio.Event(), rng=Random(1))


async def ask(url: str) -> None:
    """Ask for copies without end, and say which of them were accepted."""
    async with open_jobs(url) as jobs:
        for number in range(1_000_000):
            say("accepted", await jobs.request_copy(wanted(f"app{number}:1")))


@asynccontextmanager
async def running(mode: str, url: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run this file in *mode* as a process of its own, killed at the end of the context if not before."""
    arguments = ["-m", "jobs.processes", mode, url]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=Path(__file__).parent.parent, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, word: str, times: int) -> list[int]:
    """Return the numbers that *process* said after *word*, so many *times*; `TimeoutError` after 20 seconds."""
    numbers: list[int] = []
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while len(numbers) < times:
            first, _, number = (await process.stdout.readline()).decode().strip().partition(" ")
            if first == word:
                numbers.append(int(number))
    return numbers


if __name__ == "__main__":
    asyncio.run({"work": work, "ask": ask}[sys.argv[1]](sys.argv[2]))
