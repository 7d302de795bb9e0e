"""Checks of the content at a registry, independent of the programs that copied it."""

import hashlib
import http.client
import ssl
from collections.abc import Mapping

from image_syncer.oci import Digest
from image_syncer.oci import media_type as types
from seeding import Pushed

_WAIT_SECONDS = 120.0
_PIECE_BYTES = 1024 * 1024
_ACCEPT = f"{types.OCI_INDEX}, {types.OCI_MANIFEST}, {types.DOCKER_LIST}, {types.DOCKER_MANIFEST}"


class Judge:
    """Compares the registry at *host* with what a source has; HTTPS with *tls*."""

    def __init__(self, host: str, tls: ssl.SSLContext | None) -> None:
        self._connection = (
            http.client.HTTPConnection(host, timeout=_WAIT_SECONDS)
            if tls is None
            else http.client.HTTPSConnection(host, timeout=_WAIT_SECONDS, context=tls)
        )

    def wrong_tags(self, pushed: Mapping[str, Pushed]) -> int:
        """Return how many tags are missing or have another digest."""
        return sum(
            self._digest(f"/v2/{repository}/manifests/{tag}") != str(digest)
            for repository, content in pushed.items()
            for tag, digest in content.tags.items()
        )

    def wrong_content(self, pushed: Mapping[str, Pushed]) -> int:
        """Return how many manifests and blobs are missing or have other bytes; it reads all of them."""
        return sum(
            self._content(f"/v2/{repository}/{kind}/{digest}") != digest
            for repository, content in pushed.items()
            for kind, digests in (("manifests", content.manifests), ("blobs", content.blobs))
            for digest in digests
        )

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _digest(self, path: str) -> str:
        self._connection.request("HEAD", path, headers={"Accept": _ACCEPT})
        response = self._connection.getresponse()
        response.read()
        return response.headers.get("Docker-Content-Digest", "") if response.status == http.client.OK else ""

    def _content(self, path: str) -> Digest | None:
        self._connection.request("GET", path, headers={"Accept": _ACCEPT})
        response = self._connection.getresponse()
        total = hashlib.sha256()
        while piece := response.read(_PIECE_BYTES):
            total.update(piece)
        return Digest("sha256", total.hexdigest()) if response.status == http.client.OK else None
