"""skopeo as an independent judge of what was copied; it blocks, so that async tests call it by `asyncio.to_thread`."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SKOPEO_CANNOT_COPY: Final = frozenset({"nested"})
"""The kinds of `twenty_kinds` that skopeo 1.9 refuses to copy; it reads them all by `inspect --raw`."""

_SECONDS = 120


class SkopeoFailed(Exception):
    """skopeo came back with an error; the message is what it said."""


@dataclass(frozen=True, slots=True)
class Skopeo:
    """Runs skopeo with *home* as its home, without looking at TLS certificates, logged in as *credentials* if given.

    *credentials* is `user:password`, for every registry that a command names.
    """

    home: Path
    credentials: str = field(default="", repr=False)

    @staticmethod
    def is_installed() -> bool:
        """Whether there is a skopeo on this machine."""
        return shutil.which("skopeo") is not None

    def raw(self, reference: str) -> bytes:
        """Return the very bytes of the manifest at *reference* (`host/repository:tag` or `@digest`)."""
        options = ["--tls-verify=false", *(["--creds", self.credentials] if self.credentials else [])]
        return self._run("inspect", "--raw", *options, f"docker://{reference}")

    def pull(self, reference: str, directory: Path) -> None:
        """Pull *reference* with all that belongs to it into *directory*, which it makes; every digest is compared."""
        options = ["--all", "--src-tls-verify=false", *(["--src-creds", self.credentials] if self.credentials else [])]
        self._run("copy", *options, f"docker://{reference}", f"dir:{directory}")

    def copy(self, source: str, target: str) -> None:
        """Copy *source* to *target* with all that belongs to it, digests unchanged."""
        options = ["--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
        if self.credentials:
            options += ["--src-creds", self.credentials, "--dest-creds", self.credentials]
        self._run("copy", *options, f"docker://{source}", f"docker://{target}")

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


def skopeo_environment(home: Path) -> dict[str, str]:
    """Return an environment in which skopeo finds nobody's logins, and remembers things below *home* alone."""
    return {
        "HOME": str(home),
        "PATH": os.environ.get("PATH", ""),
        "XDG_RUNTIME_DIR": str(home),
        # Run by root, skopeo would keep its memory of blobs in /var/lib, shared by all runs that ever were.
        "_CONTAINERS_ROOTLESS_UID": "1000",
    }
