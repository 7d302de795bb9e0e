"""The roles of everything that holds images or remembers something about them."""

from image_syncer.store.memory import MemoryHistory, MemoryKnowledge, MemoryUploads
from image_syncer.store.remembered import Memories, process_memories
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
    Unfinished,
    UploadJournal,
)
from image_syncer.store.verified import Trails, skipped, verified

__all__ = [
    "BlobTarget",
    "Chunk",
    "Confirmed",
    "History",
    "Knowledge",
    "Memories",
    "MemoryHistory",
    "MemoryKnowledge",
    "MemoryUploads",
    "Opener",
    "Source",
    "Stores",
    "Target",
    "Trails",
    "Unfinished",
    "UploadJournal",
    "process_memories",
    "skipped",
    "verified",
]
