"""The test kit: images of every kind, stores in memory, and a fake registry in this process.

Shipped code never imports it. Authors of plugins and stores run the contract suite with it.
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
