"""How a run behaves, whatever its rules are."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.settings import HostLimits, Limits, RegistryAccount, Timeouts
from image_syncer.registry.transport_settings import Bandwidth, TransportSettings
from image_syncer.structs import Struct, field, replace
from image_syncer.sync.rule_trust import RuleTrust

SMALL_REQUESTS_PER_TRANSFER: Final = 4


class Options(Struct):
    """How a run behaves, whatever its rules are.

    *transfers* is the most blobs above 1 MiB in flight to and from each registry, with eight small requests for each of
    them; how many there are follows from the throughput. *host_limits* overrides both for single hosts. *same_as* maps
    further host names of one registry to its main name. A run retries failed images up to *retries* times at its end.
    After a stop request running copies have *drain_seconds* to finish. *environment* and *home* are where proxies,
    certificates and Docker's credentials are found; None: those of this process. *state* is the file or URL (which may
    contain a password) of the cache that runs share; None: no shared cache. The cache drops entries that no run
    confirmed within *keep_state*. With *postpone_on_quota* a run fails at once on a used-up quota, for callers that
    have a queue. *trust* has the gates and attesters of rules by their names, *transports* how single registries are
    reached, and *bandwidth* how much all of them together may move. *mirrors* are
    tried first for content of a registry.
    """

    access: tuple[RegistryAccount, ...] = ()
    transfers: int = 16
    retries: int = 2
    drain_seconds: float = 10.0
    environment: Mapping[str, str] | None = None
    home: Path | None = None
    host_limits: Mapping[str, HostLimits] = field(default_factory=dict[str, HostLimits])
    state: str | None = field(default=None, repr=False)
    keep_state: timedelta = timedelta(days=30)
    same_as: Mapping[str, str] = field(default_factory=dict[str, str])
    timeouts: Timeouts = field(default_factory=Timeouts)
    postpone_on_quota: bool = False
    trust: Mapping[str, RuleTrust] = field(default_factory=dict[str, RuleTrust])
    transports: Mapping[str, TransportSettings] = field(default_factory=dict[str, TransportSettings])
    bandwidth: Bandwidth | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def policy(self) -> RetryPolicy:
        """How requests are retried, and the longest wait for a registry."""
        policy = RetryPolicy.patient(self.timeouts.patience)
        return replace(policy, quota_patience=0.0) if self.postpone_on_quota else policy

    @property
    def limits(self) -> Limits:
        """The limits of the registry client."""
        transfers = max(1, self.transfers)
        requests = max(16, transfers * 2 * SMALL_REQUESTS_PER_TRANSFER)
        return Limits(
            transfers=transfers,
            requests_per_host=requests,
            connect_seconds=self.timeouts.connect,
            stall_seconds=self.timeouts.stall,
            host_limits=self.host_limits,
        )
