"""Load the file of another tool directly, where nothing of it is lost (`--from`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from image_syncer.config.convert.conversion import Finding
from image_syncer.config.convert.kinds import convert, write_native
from image_syncer.config.documents.document import parse_document
from image_syncer.config.documents.problems import ConfigErrors
from image_syncer.config.load import load_document
from image_syncer.config.model import Configuration
from image_syncer.errors import ConfigError, UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.structs import replace

_REMEDY = "image-syncer config convert writes the native file, which you can adapt"


def load_converted(
    kind: str,
    path: Path,
    target: str | None,
    *,
    platforms: PlatformFilter,
    environment: Mapping[str, str],
    serves: bool = False,
) -> Configuration:
    """Return the configuration of the file at *path* of the tool *kind*; what differs in it is a warning.

    *serves*: with a server on the loopback address, if the file has none.

    `ConfigError` if something cannot be carried over, or if the file is none of this kind.
    """
    converted = convert(kind, [path], target)
    if converted.lost:
        errors = [_lost(finding) for finding in converted.lost]
        raise errors[0] if len(errors) == 1 else ConfigErrors(errors)
    if serves:
        converted = replace(converted, document={"server": {}} | dict(converted.document))
    native = Path(f"{path}, as native.yaml")  # Errors of the native file have its lines.
    document = parse_document(write_native(converted).encode(), native, remedy_if_empty=_REMEDY)
    try:
        loaded = load_document(document, str(native), platforms=platforms, environment=environment)
    except UsageError as error:
        error.remedy = error.remedy or f"see the lines with image-syncer config convert --from {kind} {path}"
        raise
    notes = (f"{finding.file}:{finding.line}: {finding.message}" for finding in converted.findings)
    return replace(loaded, warnings=(*notes, *loaded.warnings))


def find_problems(native: str) -> Sequence[ConfigError]:
    """Return what is not valid in the native file *native*: values that the other tool's file had wrong too.

    Lines with variables are not checked, since their values may be elsewhere.
    """
    file = "native.yaml"
    lines = native.splitlines()
    try:
        document = parse_document(native.encode(), Path(file), remedy_if_empty=_REMEDY)
        load_document(document, file, platforms=PlatformFilter(), environment={}, allow_open=True)
    except ConfigErrors as error:
        found = error.errors
    except ConfigError as error:
        found = (error,)
    else:
        return ()
    return [error for error in found if error.line is None or "${" not in lines[error.line - 1]]


def _lost(finding: Finding) -> ConfigError:
    message = f"cannot be carried over: {finding.message}"
    return ConfigError(message, file=finding.file, line=finding.line, remedy=_REMEDY)
