"""Pushes images to a registry and reads them by plain HTTP, independently of the code under test."""

import json
from dataclasses import dataclass
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from image_syncer.oci import media_type as types
from image_syncer.testing.images import Blob, Image


@dataclass(frozen=True, slots=True)
class Peer:
    """A registry without authentication, over plain HTTP."""

    host: str

    def push(self, repository: str, image: Image, *tags: str) -> None:
        """Push *image* with all its parts, under *tags*."""
        for blob in image.blobs.values():
            self.push_blob(repository, blob)
        for raw in image.manifests:
            self._send("PUT", f"/v2/{repository}/manifests/{raw.digest}", raw.content, {"Content-Type": raw.media_type})
        for tag in tags:
            headers = {"Content-Type": image.root.media_type}
            self._send("PUT", f"/v2/{repository}/manifests/{tag}", image.root.content, headers)

    def push_blob(self, repository: str, blob: Blob) -> None:
        """Push *blob* alone."""
        location = self._send("POST", f"/v2/{repository}/blobs/uploads/")[1]["Location"]
        mark = "&" if "?" in location else "?"
        self._send("PUT", f"{location}{mark}digest={blob.digest}", blob.read())

    def manifest(self, repository: str, identifier: str) -> bytes | None:
        """Return the manifest's bytes, None if it is missing."""
        headers = {"Accept": ", ".join(types.ACCEPT)}
        try:
            return self._send("GET", f"/v2/{repository}/manifests/{identifier}", None, headers)[0]
        except HTTPError as error:
            error.close()
            return None

    def get(self, path: str) -> bytes:
        """Return the body at *path*."""
        return self._send("GET", path)[0]

    def delete_manifest(self, repository: str, digest: object) -> None:
        """Delete a manifest by its digest."""
        self._send("DELETE", f"/v2/{repository}/manifests/{digest}")

    def has_blob(self, repository: str, digest: object) -> bool:
        """Whether the repository has the blob."""
        try:
            self._send("HEAD", f"/v2/{repository}/blobs/{digest}")
        except HTTPError as error:
            error.close()
            return False
        return True

    def tags(self, repository: str) -> list[str]:
        """Return all tags, sorted; none if the repository does not exist."""
        try:
            body = self._send("GET", f"/v2/{repository}/tags/list")[0]
        except HTTPError as error:
            error.close()
            return []
        return sorted(json.loads(body)["tags"] or [])

    def _send(
        self, method: str, target: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[bytes, dict[str, str]]:
        # Without a type urllib declares a form, which the registry would then parse out of the blob.
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        url = target if target.startswith("http") else f"http://{self.host}{target}"
        data = b"" if body is None and method in {"POST", "PUT"} else body
        with urlopen(Request(url, data=data, method=method, headers=headers), timeout=30) as response:
            return response.read(), dict(response.headers)
