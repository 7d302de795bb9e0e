"""The gates and attesters of rules, and how a copy gets at what is attached to images."""

from collections.abc import Mapping

from image_syncer.roles import Attester, Gate, ReferrerCache, ReferrerStores
from image_syncer.structs import Struct, field


class RuleTrust(Struct):
    """The *gate* that images of a rule must pass, and the *attester* of its copies.

    *skips_refused*: an image that the gate refuses is skipped, not failed.
    """

    gate: Gate | None = None
    attester: Attester | None = None
    skips_refused: bool = False


NO_TRUST = RuleTrust()


class ReferrerAccess(Struct):
    """What a run needs to copy referrers: *stores*, the trust of rules by their names, and the *cache* of the state.

    *cache* is None without a state. *has_history*: the state has been there before this run.
    """

    stores: ReferrerStores
    cache: ReferrerCache | None = None
    trust: Mapping[str, RuleTrust] = field(default_factory=dict[str, RuleTrust])
    has_history: bool = True

    def trust_of(self, rule: str) -> RuleTrust:
        """Return the gate and the attester of *rule*, which may have neither."""
        return self.trust.get(rule, NO_TRUST)
