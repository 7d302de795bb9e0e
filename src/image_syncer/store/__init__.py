"""The roles of everything that holds images or remembers something about them."""

from image_syncer.store.memory import MemoryHistory, MemoryKnowledge
from image_syncer.store.roles import (
    BlobTarget,
    Chunk,
    Confirmed,
    History,
    Knowledge,
    Opener,
    Source,
    Stores,
    Target,
    verified,
)

__all__ = [
    "BlobTarget",
    "Chunk",
    "Confirmed",
    "History",
    "Knowledge",
    "MemoryHistory",
    "MemoryKnowledge",
    "Opener",
    "Source",
    "Stores",
    "Target",
    "verified",
]
