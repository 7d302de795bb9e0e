"""The test kit: images of every kind, stores in memory, a registry in this process, and real servers.

Nothing that we ship uses it. Who writes a plugin or changes a store runs the contract suite with it.
"""

from image_syncer.testing import faults, profiles
from image_syncer.testing.accounts import ALL, PULL, Account, Accounts
from image_syncer.testing.content import Blob, Image
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.memory_store import MemoryStore, MemoryStores
from image_syncer.testing.profile import Profile
from image_syncer.testing.request_log import Request, RequestLog

__all__ = [
    "ALL",
    "PULL",
    "Account",
    "Accounts",
    "Blob",
    "FakeRegistry",
    "Image",
    "MemoryStore",
    "MemoryStores",
    "Profile",
    "Request",
    "RequestLog",
    "faults",
    "profiles",
]
