"""One module per family of senders: pure functions from a request to a `Notification` or a `Handshake`.

A dialect takes the registry's host from our configuration, never from the body. It receives the headers, with names in
lower case or in a mapping that ignores case, and the raw body. It raises `MalformedNotification` for a body that its
sender cannot have sent.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from image_syncer.errors import UsageError
from image_syncer.events.dialects import (
    alibaba,
    azure,
    cloudevents,
    distribution,
    dockerhub,
    ecr,
    gitea,
    github,
    harbor,
    jfrog,
    legacy,
    nexus,
    pubsub,
    quay,
    zot,
)
from image_syncer.events.notification import Answer

Dialect = Callable[[str, Mapping[str, str], bytes], Answer]

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "acr": azure.read,
        "alibaba": alibaba.read,
        "cloudevents": cloudevents.read,
        "distribution": distribution.read,
        "dockerhub": dockerhub.read,
        "ecr": ecr.read,
        "gitea": gitea.read,
        "github": github.read,
        "gitlab": distribution.read,
        "harbor": harbor.read,
        "huawei": harbor.read,
        "jfrog": jfrog.read,
        "nexus": nexus.read,
        "plain": legacy.read,
        "pubsub": pubsub.read,
        "quay": quay.read,
        "tencent": harbor.read,
        "zot": zot.read,
    }
)
"""The kinds of senders of a hook."""

_WITH_PREFIX: Final = frozenset({"jfrog", "nexus"})


def dialect(kind: str, *, prefix: jfrog.Prefix = None) -> Dialect:
    """Return the dialect of *kind*; `UsageError` for an unknown one.

    *prefix* is the path before an image's name, which the bodies of `jfrog` and `nexus` do not contain; None: default.
    For `jfrog` it may be a map from repository key to path.
    """
    if kind not in DIALECTS:
        raise UsageError(f"{kind!r}: unknown kind of hook", remedy=f"one of {', '.join(DIALECTS)}")
    if prefix is None:
        return DIALECTS[kind]
    if kind not in _WITH_PREFIX:
        raise UsageError(f"a hook of the kind {kind!r} takes no prefix", remedy="only jfrog and nexus need one")
    if kind == "jfrog":
        return partial(jfrog.read, prefix=prefix)
    if not isinstance(prefix, str):
        raise UsageError(f"a hook of the kind {kind!r} takes one prefix", remedy="only jfrog takes a map")
    return partial(nexus.read, prefix=prefix)
