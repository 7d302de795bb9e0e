"""The command `config images`: what the lists of images of rules name, and why."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from image_syncer.cli.configuration import load, pick
from image_syncer.cli.console import complain, warn, write_result
from image_syncer.cli.formatting import printable
from image_syncer.cli.log import command_log
from image_syncer.cli.options import FileOptions, OutputOptions
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.structs import Struct
from image_syncer.sync.image_lists import FoundImage, FoundImages, ImageList


class _Listed(Struct):
    """What the list *wanted* of *rule* names."""

    rule: str
    wanted: ImageList
    found: FoundImages

    def copies(self, image: FoundImage) -> bool:
        """Whether a run copies *image*."""
        return image.certain or self.wanted.uncertain


def images(files: FileOptions, names: Sequence[str], output: OutputOptions, *, why: bool) -> int:
    """Print the images of the rules called *names*, or of all with a list; with *why* also uncertain ones and places.

    The exit code is 1 if something of a list cannot be read.
    """
    configuration = load(files, PlatformFilter())
    wanted = {rule.name: rule.source for rule in pick(configuration.rules, names) if isinstance(rule.source, ImageList)}
    if not wanted:
        raise UsageError("no rule has a list of images", remedy="write images_from: in place of source:")
    with command_log(output, {}):
        listed = run_unless_interrupted(_find(configuration, wanted))
    if output.output == "json":
        write_result([json.dumps([_as_json(one) for one in listed]), "\n"])
    else:
        write_result(line for one in listed for line in _as_text(one, why=why))
        _report(listed, output)
    return int(any(one.found.invalid for one in listed))


async def _find(configuration: Configuration, wanted: dict[str, ImageList]) -> list[_Listed]:
    from image_syncer.app import Options, open_app  # noqa: PLC0415 - only this reads a registry

    options = Options(
        access=configuration.accounts,
        host_limits=configuration.host_limits,
        same_as=configuration.same_as,
        timeouts=configuration.timeouts,
    )
    async with open_app(options) as syncer:
        return [_Listed(rule, source, await syncer.find_images(source)) for rule, source in wanted.items()]


def _as_text(listed: _Listed, *, why: bool) -> Iterator[str]:
    for image in listed.found.images:
        if why:
            kind = "copied" if listed.copies(image) else "uncertain"
            yield f"{printable(str(image))}\t{kind}\t{printable(image.why)}\n"
        elif listed.copies(image):
            yield f"{printable(str(image))}\n"


def _report(listed: Sequence[_Listed], output: OutputOptions) -> None:
    for one in listed:
        for invalid in one.found.invalid:
            place = f"{invalid.why}: " if invalid.why else ""
            complain(printable(f"{one.rule}: {place}{invalid.message}"))
        for text in () if output.quiet else one.found.warnings:
            warn(printable(f"{one.rule}: {text}"))


def _as_json(listed: _Listed) -> dict[str, Any]:
    found = listed.found
    return {
        "rule": listed.rule,
        "images": [
            {
                "image": str(image),
                "source": str(image.reference),
                "tag": image.tag or image.reference.tag,
                "why": image.why,
                "certain": image.certain,
                "copied": listed.copies(image),
            }
            for image in found.images
        ],
        "invalid": [{"text": one.text, "why": one.why or None, "message": one.message} for one in found.invalid],
        "warnings": list(found.warnings),
    }
