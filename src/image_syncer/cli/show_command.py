"""The command `config show`: the effective configuration as a native file, without secrets."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from image_syncer.cli.configuration import default_file, load
from image_syncer.cli.console import warn, write_result
from image_syncer.cli.options import FileOptions, OutputOptions
from image_syncer.config.convert.conversion import Converted
from image_syncer.config.convert.kinds import convert, guess_kind, write_native
from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import read_configuration
from image_syncer.config.native.native_view import view_native
from image_syncer.oci import PlatformFilter

_BARE_NAME: Final = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


def show(files: FileOptions, output: OutputOptions, *, shows_defaults: bool) -> int:
    """Print the effective configuration of *files*; `ConfigError` with all problems of files that are not valid."""
    configuration = load(files, PlatformFilter())
    if not output.quiet:
        for warning in configuration.warnings:
            warn(warning)
    view = _view(files, output, shows_defaults=shows_defaults)
    if output.output == "json":
        write_result([json.dumps(view), "\n"])
    else:
        write_result([write_native(Converted(view, ()))])
    return 0


def _view(files: FileOptions, output: OutputOptions, *, shows_defaults: bool) -> Mapping[str, Any]:
    if files.config is None and (files.auth or files.images):
        paths = [path for path in (files.auth, files.images) if path is not None]
        return _converted_view("go-tool", paths, files, output, shows_defaults=shows_defaults)
    path = files.config or default_file("config show")
    if files.from_kind is None:
        document = read_configuration(path)
        if document.find("version") is not None:
            return view_native(document, str(path), os.environ, shows_defaults=shows_defaults)
    return _converted_view(files.from_kind or guess_kind(path), [path], files, output, shows_defaults=shows_defaults)


def _converted_view(
    kind: str, paths: list[Path], files: FileOptions, output: OutputOptions, *, shows_defaults: bool
) -> Mapping[str, Any]:
    """Return the view of files of another dialect or tool; a warning tells what the native file cannot say."""
    converted = convert(kind, paths, files.from_target)
    if not output.quiet:
        for finding in converted.lost:
            warn(f"not shown: {finding}")
    native = Path(f"{paths[0]}, as native.yaml")
    document = parse_document(write_native(converted).encode(), native, remedy_if_empty="")
    # The Go tool's form `$NAME`, which stays as written if there is no such variable, has become `${NAME}`.
    texts = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
    bare = {name: f"${name}" for text in texts for name in _BARE_NAME.findall(text)}
    return view_native(document, str(native), {**bare, **os.environ}, shows_defaults=shows_defaults)
