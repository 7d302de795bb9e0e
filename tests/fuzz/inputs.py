"""Mutations of inputs, as a fuzzer makes them, for platforms without a coverage-guided fuzzer."""

from collections.abc import Iterator, Sequence
from random import Random

LONGEST = 4096


def mutations(seeds: Sequence[bytes], words: Sequence[bytes], rng: Random) -> Iterator[bytes]:
    """Yield inputs forever: the *seeds* first, then random mutations of them, drawn only from *rng*."""
    kept = list(seeds) or [b""]
    yield from kept
    while True:
        data = bytearray(rng.choice(kept))
        for _ in range(1 + min(int(rng.expovariate(0.5)), 16)):
            _mutate(data, kept, words, rng)
        found = bytes(data[:LONGEST])
        if rng.random() < 0.02 and len(kept) < 500:  # Some mutations become seeds, so that changes add up.
            kept.append(found)
        yield found


def _mutate(data: bytearray, kept: Sequence[bytes], words: Sequence[bytes], rng: Random) -> None:
    start = rng.randint(0, len(data))
    end = min(len(data), start + rng.choice((0, 1, 1, 2, 4, 16, 64)))
    match rng.randrange(7):
        case 0:
            data[start:end] = b""
        case 1:
            data[start:end] = rng.randbytes(rng.choice((1, 1, 2, 4)))
        case 2 if words:
            data[start:end] = rng.choice(words) * rng.choice((1, 1, 1, 2, 100))
        case 3:
            data[start:start] = data[start:end] * rng.choice((1, 2, 50))
        case 4:
            other = rng.choice(kept)
            data[start:] = other[rng.randint(0, len(other)) :]
        case 5 if data and start < len(data):
            data[start] ^= 1 << rng.randrange(8)
        case _:
            data[start:start] = rng.choice((b"\x00", b"\xff", b"\x7f", b"0", b"9" * 20))
