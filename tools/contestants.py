"""The programs of the benchmark: what each runs for the same job, with the number of transfers that it is given."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import our_command

OURS: Final = "image-syncer"
FLOOR: Final = "floor"
_TRANSFERS: Final = 16
_PROCESSES: Final = "8"
_COMMIT: Final = ("rev-parse", "--short", "HEAD")


@dataclass(frozen=True, slots=True)
class Ends:
    """Source and targets of a run, the tags of each repository, and a *home* for the program's files.

    With *tls* the registries speak HTTPS; *ca* is the file of the CA that the program trusts, None for no private one.
    """

    source: str
    targets: Sequence[str]
    tags: Mapping[str, Sequence[str]]
    home: Path
    tls: bool = False
    ca: Path | None = None

    def write(self, name: str, content: object) -> str:
        """Write a file into the home, JSON unless *content* is text, and return its path."""
        path = self.home / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
        return str(path)

    def repositories(self) -> Sequence[tuple[str, str]]:
        """Return each repository with each of its targets."""
        return [(f"{self.source}/{path}", f"{target}/{path}") for path in self.tags for target in self.targets]

    def images(self) -> Sequence[tuple[str, str]]:
        """Return each image with each of its targets."""
        return [
            (f"{self.source}/{path}:{tag}", f"{target}/{path}:{tag}")
            for path, tags in self.tags.items()
            for tag in tags
            for target in self.targets
        ]


Job = Callable[[str, Ends], Sequence[str]]
"""Writes its files and returns the command of the job, with the path of the program."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program that takes part, and how it does the job.

    *program* is the name of its binary, *version* the arguments that print its version. A program that *copies_singly*
    takes part where there are few images. One with *tls_only* speaks only HTTPS. One that does not *hash* leaves it to
    the target to detect damaged content. *left_out* names rows that take it too long.
    """

    name: str
    about: str
    job: Job
    program: str = ""
    version: Sequence[str] = ("version",)
    copies_singly: bool = False
    tls_only: bool = False
    hashes: bool = True
    left_out: frozenset[str] = frozenset()

    def find(self, directory: Path | None) -> str | None:
        """Return the path of its binary, in *directory* or on PATH; None if it is absent."""
        if not self.program:
            return our_command()
        beside = shutil.which(self.program, path=str(directory)) if directory else None
        return beside or shutil.which(self.program)

    def read_version(self, path: str) -> str:
        """Return its version, for us the commit; empty if that is unknown."""
        command = [path, *self.version] if self.program else ["git", "-C", str(Path(__file__).parent), *_COMMIT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        except OSError:
            return ""
        found = re.search(r"v?\d+\.\d+[^\s,]*|^[0-9a-f]+$", done.stdout + done.stderr, re.MULTILINE)
        return found[0] if done.returncode == 0 and found else ""


def _each(ends: Ends, command: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Sequence[str]:
    """Return *command* for each pair, a few at a time."""
    if len(pairs) == 1:
        return [*command, *pairs[0]]
    listed = ends.write("pairs", "".join(f"{source} {target}\n" for source, target in pairs))
    return ["xargs", "-P", _PROCESSES, "-L", "1", "-a", listed, *command]


def _rules(path: str, ends: Ends, *options: str) -> Sequence[str]:
    hosts = (ends.source, *ends.targets)
    auth = ends.write("auth.json", {} if ends.tls else {host: {"insecure": True} for host in hosts})
    rules = {f"{ends.source}/{name}": [f"{target}/{name}" for target in ends.targets] for name in ends.tags}
    return [path, *options, "--auth", auth, "--images", ends.write("images.json", rules)]


def _ours(path: str, ends: Ends) -> Sequence[str]:
    return _rules(path, ends, "sync")


def _ours_wide(path: str, ends: Ends) -> Sequence[str]:
    return _rules(path, ends, "sync", "--proc", str(_TRANSFERS))


def _go_tool(path: str, ends: Ends) -> Sequence[str]:
    return _rules(path, ends, "--proc", str(_TRANSFERS))


def _crane(path: str, ends: Ends) -> Sequence[str]:
    return _each(ends, [path, "copy", "--all-tags", "--jobs", str(_TRANSFERS)], ends.repositories())


def _regsync(path: str, ends: Ends) -> Sequence[str]:
    tls: dict[str, object] = {"tls": "enabled" if ends.tls else "disabled"}
    if ends.ca is not None:
        tls["regcert"] = ends.ca.read_text(encoding="utf-8")
    logins = [{"registry": host, "reqConcurrent": _TRANSFERS, **tls} for host in (ends.source, *ends.targets)]
    entries = [{"source": source, "target": target, "type": "image"} for source, target in ends.images()]
    document = {"version": 1, "creds": logins, "defaults": {"parallel": _TRANSFERS}, "sync": entries}
    return [path, "once", "--config", ends.write("regsync.yaml", document)]


def _oras(path: str, ends: Ends) -> Sequence[str]:
    def side(name: str) -> Sequence[str]:
        if not ends.tls:
            return [f"--{name}-plain-http"]
        return [f"--{name}-ca-file", str(ends.ca)] if ends.ca else []

    command = [path, "cp", "--no-tty", "--concurrency", str(_TRANSFERS), *side("from"), *side("to")]
    return _each(ends, command, ends.images())


def _skopeo(path: str, ends: Ends) -> Sequence[str]:
    everything: Sequence[str] = ()  # Without tags named it copies all.
    listed = {ends.source: {"images": dict.fromkeys(ends.tags, everything), "tls-verify": ends.tls}}
    command = [path, "--insecure-policy", "sync", "--all", "--preserve-digests", "--src", "yaml", "--dest", "docker"]
    command += [f"--dest-tls-verify={str(ends.tls).lower()}", ends.write("skopeo.yaml", listed)]
    runs = [[*command, f"{target}/bench"] for target in ends.targets]
    return runs[0] if len(runs) == 1 else ["sh", "-c", " && ".join(map(shlex.join, runs))]


def _ocync(path: str, ends: Ends) -> Sequence[str]:
    targets = {f"target{number}": host for number, host in enumerate(ends.targets)}
    document = {
        "registries": {
            name: {"url": host, "auth_type": "anonymous"} for name, host in {"source": ends.source, **targets}.items()
        },
        "defaults": {
            "source": "source",
            "targets": list(targets),
            "artifacts": {"enabled": False},
            "tags": {"glob": "*"},
        },
        "mappings": [{"from": name, "to": name} for name in ends.tags],
    }
    return [path, "sync", "--config", ends.write("ocync.yaml", document)]


CONTESTANTS: Final[Sequence[Contestant]] = (
    Contestant(OURS, "`sync` with a rule for each repository, all tags, without other options", _ours),
    Contestant(f"{OURS} --proc 16", "the same with 16 transfers at once", _ours_wide),
    Contestant(
        "crane", "`crane copy --all-tags --jobs 16`, 8 repositories and targets at a time (xargs)", _crane, "crane"
    ),
    Contestant("regsync", "`regsync once`, 16 at once, an entry for each tag", _regsync, "regsync"),
    Contestant(
        "oras",
        "`oras cp --concurrency 16`, 8 images and targets at a time (xargs); it leaves hashing to the target",
        _oras,
        "oras",
        copies_singly=True,
        hashes=False,
    ),
    Contestant(
        "skopeo",
        "`skopeo sync --all --preserve-digests`; it copies one image after the other, to one target after the other",
        _skopeo,
        "skopeo",
        ("--version",),
        left_out=frozenset({"far-no-op", "far-no-op-tls"}),
    ),
    Contestant(
        "Go tool",
        "image-syncer of Alibaba Cloud, written in Go, with `--proc 16` and the same files",
        _go_tool,
        "image-syncer-go",
        left_out=frozenset({"far-no-op", "far-no-op-tls", "far-shared", "far-shared-tls"}),
    ),
    Contestant(
        "ocync",
        "`ocync sync`, a mapping for each repository, without artifacts; it speaks only HTTPS",
        _ocync,
        "ocync",
        ("--version",),
        tls_only=True,
    ),
)
