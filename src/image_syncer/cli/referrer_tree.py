"""The command `referrers`: what is attached to an image, as a tree or as JSON."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from image_syncer.app import Options, open_app
from image_syncer.cli.console import write_result
from image_syncer.cli.formatting import number, printable, size
from image_syncer.cli.log import command_log
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.output import Line, show
from image_syncer.cli.references import parse_source
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.sync.inspection import AttachedManifest, AttachmentTree

_LAST, _BRANCH = "└── ", "├── "
_BELOW_LAST, _BELOW_BRANCH = "    ", "│   "
_PREDICATE: Final = "dev.sigstore.bundle.predicateType"


def referrers(reference: str, auth: Path | None, output: OutputOptions) -> int:
    """Write what is attached to the image *reference* to stdout; 1 if something of it cannot be read."""
    wanted = parse_source(reference)
    options = Options(access=load_auth(auth, environment=os.environ) if auth else ())

    async def read() -> AttachmentTree:
        async with open_app(options) as syncer:
            return await syncer.attached(wanted)

    with command_log(output, {}):
        found = run_unless_interrupted(read())
    if output.output == "json":
        write_result([json.dumps(_as_json(found), indent=2), "\n"])
    else:
        show(_as_text(found))
    return int(any(one.problem for one in _all(found)))


def _all(found: AttachmentTree) -> Iterator[AttachedManifest]:
    pending = [one for attached in found.attached.values() for one in attached]
    while pending:
        one = pending.pop()
        pending += one.attached
        yield one


def _as_text(found: AttachmentTree) -> Iterator[Line]:
    yield Line()
    yield Line(((printable(str(found.reference)), "bold"), (f"  {found.manifest.digest}", "cyan")))
    yield from _branches(found.attached[str(found.manifest.digest)], "")
    for entry, name in found.names:
        attached = found.attached[str(entry.digest)]
        if attached and entry.digest != found.manifest.digest:
            yield Line()
            yield Line(((printable(name), "bold"), (f"  {entry.digest}", "cyan")))
            yield from _branches(attached, "")
    count = sum(1 for _ in _all(found))
    yield Line()
    yield Line(((f"{number(count, 'manifest')} attached" if count else "nothing is attached", "dim"),))
    yield Line()


def _branches(attached: tuple[AttachedManifest, ...], prefix: str) -> Iterator[Line]:
    for position, one in enumerate(attached):
        is_last = position == len(attached) - 1
        entry = one.attachment.entry
        yield Line(
            (
                (prefix + (_LAST if is_last else _BRANCH), "dim"),
                (f"{one.kind:<12}", "green"),
                (f"{size(one.size_bytes):>9}  ", ""),
                (str(entry.digest), "cyan"),
                (f"  {printable(_type(one))}", "dim"),
            )
        )
        below = prefix + (_BELOW_LAST if is_last else _BELOW_BRANCH)
        for signer in one.signers or ():
            yield Line(((below, "dim"), (f"by {printable(signer)}", "")))
        if one.problem:
            yield Line(((below, "dim"), (printable(one.problem), "bold red")))
        yield from _branches(one.attached, below)


def _type(one: AttachedManifest) -> str:
    """Return what the author says that it is: the predicate, the artifact type, or the legacy tag."""
    entry = one.attachment.entry
    return entry.annotations.get(_PREDICATE) or entry.artifact_type or one.attachment.tag


def _as_json(found: AttachmentTree) -> dict[str, Any]:
    return {
        "reference": str(found.reference),
        "digest": str(found.manifest.digest),
        "manifests": [
            {
                "digest": str(entry.digest),
                "platform": name or None,
                "referrers": [_one_as_json(one) for one in found.attached[str(entry.digest)]],
            }
            for entry, name in found.names
        ],
    }


def _one_as_json(one: AttachedManifest) -> dict[str, Any]:
    entry = one.attachment.entry
    return {
        "digest": str(entry.digest),
        "kind": one.kind.value,
        "artifact_type": entry.artifact_type or None,
        "media_type": entry.media_type,
        "size": one.size_bytes,
        "annotations": entry.annotations,
        "tag": one.attachment.tag or None,
        "signers": one.signers,
        "problem": one.problem or None,
        "referrers": [_one_as_json(below) for below in one.attached],
    }
