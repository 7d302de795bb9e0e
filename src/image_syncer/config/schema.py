"""The JSON Schema of the native file, for editors."""

from typing import Any, Final

from image_syncer.config.native.native_model import NativeFile

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of the native file: the keys, types and bounds that the loader checks."""
    return {"$schema": _DIALECT, **NativeFile.model_json_schema(mode="validation")}
