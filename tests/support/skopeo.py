"""skopeo as an independent judge of copies. It blocks; async tests call it through `asyncio.to_thread`."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from image_syncer.oci.layout_text import is_layout

SKOPEO_CANNOT_COPY: Final = frozenset({"nested"})
"""The kinds of `twenty_kinds` that skopeo 1.9 refuses to copy; it reads them all by `inspect --raw`."""

_SECONDS = 120


class SkopeoFailed(Exception):
    """skopeo failed; the message is its output."""


@dataclass(frozen=True, slots=True)
class Skopeo:
    """Runs skopeo with *home* as its home, without verifying TLS certificates, and with *credentials* if given.

    *credentials* is `user:password`, for every registry that a command names.
    """

    home: Path
    credentials: str = field(default="", repr=False)

    @staticmethod
    def is_installed() -> bool:
        """Whether skopeo is installed."""
        return shutil.which("skopeo") is not None

    def raw(self, reference: str) -> bytes:
        """Return the exact bytes of the manifest at *reference* (`host/repository:tag`, `@digest`, or a layout)."""
        options = ["--tls-verify=false", *(["--creds", self.credentials] if self.credentials else [])]
        return self._run("inspect", "--raw", *options, _located(reference))

    def pull(self, reference: str, directory: Path) -> None:
        """Pull *reference* with its whole graph into *directory*, which skopeo creates; it verifies every digest."""
        options = ["--all", "--src-tls-verify=false", *(["--src-creds", self.credentials] if self.credentials else [])]
        self._run("copy", *options, _located(reference), f"dir:{directory}")

    def copy(self, source: str, target: str) -> None:
        """Copy *source* to *target* with its whole graph, digests unchanged."""
        options = ["--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
        if self.credentials:
            options += ["--src-creds", self.credentials, "--dest-creds", self.credentials]
        self._run("copy", *options, _located(source), _located(target))

    def _run(self, command: str, *arguments: str) -> bytes:
        program = shutil.which("skopeo")
        if program is None:
            raise SkopeoFailed("skopeo is not installed")
        done = subprocess.run(
            [program, "--insecure-policy", command, *arguments],
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env=skopeo_environment(self.home),
        )
        if done.returncode != 0:
            raise SkopeoFailed(done.stderr.decode(errors="replace").strip())
        return done.stdout


def _located(reference: str) -> str:
    """Return *reference* as skopeo writes it; those of layouts have their scheme already."""
    return reference if is_layout(reference) else f"docker://{reference}"


def skopeo_environment(home: Path) -> dict[str, str]:
    """Return an environment in which skopeo finds no logins, and stores its data only below *home*."""
    return {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", ""),
        "XDG_RUNTIME_DIR": str(home),
        # As root, skopeo would keep its blob cache in /var/lib, shared by all earlier runs.
        "_CONTAINERS_ROOTLESS_UID": "1000",
    }
