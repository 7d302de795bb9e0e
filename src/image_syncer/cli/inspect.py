"""Commands that read a registry and change nothing: `tags` and `inspect`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from image_syncer.app import Options, open_app
from image_syncer.cli.console import write_bytes, write_result
from image_syncer.cli.formatting import number, printable, size
from image_syncer.cli.log import command_log
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.output import Line, show
from image_syncer.cli.references import parse_repository, parse_source
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.oci import Descriptor, Platform, Repository
from image_syncer.sync.inspection import Inspection


def tags(repository: str, auth: Path | None, output: OutputOptions) -> int:
    """Write the tags of *repository* to stdout, one on a line, or as a JSON list."""
    wanted = parse_repository(repository)
    options = _options(auth)
    with command_log(output, {}):
        run_unless_interrupted(_write_tags(wanted, options, as_json=output.output == "json"))
    return 0


def inspect(reference: str, auth: Path | None, output: OutputOptions, *, raw: bool) -> int:
    """Write the properties of the image *reference* to stdout; with *raw* its manifest byte for byte."""
    wanted = parse_source(reference)
    options = _options(auth)

    async def read() -> Inspection:
        async with open_app(options) as syncer:
            return await syncer.inspect(wanted)

    with command_log(output, {}):
        found = run_unless_interrupted(read())
    if raw:
        write_bytes(found.manifest.content)
    elif output.output == "json":
        write_result([json.dumps(_as_json(found), indent=2), "\n"])
    else:
        show(_as_text(found))
    return 0


async def _write_tags(repository: Repository, options: Options, *, as_json: bool) -> None:
    async with open_app(options) as syncer:
        listing = syncer.tags(repository)
        if as_json:
            write_result([json.dumps([tag async for tag in listing]), "\n"])
            return
        async for tag in listing:
            if not write_result([printable(tag), "\n"]):
                return


def _options(auth: Path | None) -> Options:
    return Options(access=load_auth(auth, environment=os.environ) if auth else ())


def _as_text(found: Inspection) -> Iterator[Line]:
    manifest = found.manifest
    rows = (
        ("reference", printable(str(found.reference))),
        ("digest", str(manifest.digest)),
        ("media type", printable(manifest.media_type)),
        ("size", f"{size(len(manifest.content))}, and {number(found.blobs, 'blob')} of {size(found.size_bytes)}"),
    )
    yield Line()
    for name, value in rows:
        yield Line(((f"{name:<12}", "dim"), (value, "")))
    if found.platforms:
        yield Line()
        yield Line((("platforms", "dim"),))
    names = [printable(_name(platform, entry)) for platform, entry in found.platforms]
    width = max(map(len, names), default=0)
    for name, (_, entry) in zip(names, found.platforms, strict=True):
        amount = "" if entry.size is None else f"  {size(entry.size)}"
        yield Line(((f"{name:<{width}}  ", ""), (str(entry.digest), "cyan"), (amount, "dim")), indent=4)
    yield Line()


def _name(platform: Platform, entry: Descriptor) -> str:
    version = f" {platform.os_version}" if platform.os_version else ""
    attests = " (attestation)" if entry.attested_digest else ""
    return f"{platform}{version}{attests}"


def _as_json(found: Inspection) -> dict[str, Any]:
    return {
        "reference": str(found.reference),
        "digest": str(found.manifest.digest),
        "media_type": found.manifest.media_type,
        "size": len(found.manifest.content),
        "blobs": found.blobs,
        "bytes": found.size_bytes,
        "platforms": [
            {
                "os": platform.os,
                "architecture": platform.architecture,
                "variant": platform.variant,
                "os_version": platform.os_version,
                "digest": str(entry.digest),
                "media_type": entry.media_type,
                "size": entry.size,
                "attests": entry.attested_digest,
            }
            for platform, entry in found.platforms
        ],
    }
