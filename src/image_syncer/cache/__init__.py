"""What is remembered of registries: in memory, and written behind to a database that outlives the process."""

from image_syncer.cache.digest_checkpoints import Trails, skipped, verified
from image_syncer.cache.memory import MemoryHistory, MemoryKnowledge, MemoryUploads
from image_syncer.cache.persistent import Memories, process_memories

__all__ = [
    "Memories",
    "MemoryHistory",
    "MemoryKnowledge",
    "MemoryUploads",
    "Trails",
    "process_memories",
    "skipped",
    "verified",
]
