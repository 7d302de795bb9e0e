"""How a fake registry behaves, as long as it behaves."""

import ssl
from dataclasses import dataclass, field

from image_syncer.testing.accounts import Accounts
from image_syncer.testing.fake.access import Auth
from image_syncer.testing.fake.manifests import ManyTags


@dataclass(frozen=True, slots=True)
class Profile:
    """The habits of a registry; those of known products are in `image_syncer.testing.profiles`.

    With *tls*, a server's context, it speaks HTTPS. *page_limit* bounds the entries of a listing, *chunk_min_bytes* is
    announced and enforced for chunks, tokens live for *token_seconds*. Without *referrers* it is a registry of 1.0.
    With *listed_digests* its tag lists say what tags name (Google's do).
    *many_tags* is what it makes of several tags with one manifest (end-7b): it sets them and says so, overlooks them,
    or refuses the request.
    """

    auth: Auth = "none"
    accounts: Accounts = field(default_factory=Accounts)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    page_limit: int = 1000
    chunk_min_bytes: int = 0
    referrers: bool = True
    listed_digests: bool = False
    many_tags: ManyTags = "confirms"
    token_seconds: float = 300
