"""The native file as it takes effect: files merged, variables replaced, defaults of rules applied, secrets masked."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, cast

from pydantic import BaseModel, SecretStr

from image_syncer.config.convert.conversion import literal
from image_syncer.config.documents.node import MapNode
from image_syncer.config.duration import format_duration
from image_syncer.config.native.native_file import ITEMS, with_defaults
from image_syncer.config.native.native_model import NativeFile
from image_syncer.config.native.native_parts import merge_native
from image_syncer.config.native.native_rule_model import RuleSection

MASK: Final = "***"
"""Stands for a secret."""

_URL_KEYS: Final = frozenset({"url", "urls"})
_LOGIN: Final = re.compile(r"(?<=://)[^/?#\s]*@")
_SECRET_LOGIN: Final = re.compile(r"(?<=://).*@", re.DOTALL)
_OPTION: Final = re.compile(r"([?&])([^=&#\s]+)=([^&#\s]*)")
_SHOWN_OPTIONS: Final = frozenset(
    {"application_name", "cafile", "connect_timeout", "endpoint", "heartbeat", "port", "sasl", "sslmode", "sslrootcert"}
)


def view_native(
    document: MapNode, file: str, environment: Mapping[str, str], *, shows_defaults: bool = False
) -> dict[str, Any]:
    """Return *document*, the content of *file*, as it takes effect, as plain data of the native file.

    *shows_defaults*: with the keys that the file does not have. `ConfigError` for a file that is not valid.
    """
    config_file = merge_native(document, file, environment).replace_variables()
    sections = config_file.validate(NativeFile, items=ITEMS)
    config_file.problems.raise_found()
    items = (config_file.item("rules", index, RuleSection) for index in range(len(sections.rules)))
    rules = [with_defaults(rule, sections.defaults) for rule in items]
    shown: dict[str, Any] = {"version": 1}
    for key, value in _fields(sections, NativeFile, shows_defaults=shows_defaults).items():
        if key not in {"version", "rules", "defaults", "include"}:
            shown[key] = value
        elif key == "rules":
            shown[key] = [_fields(rule, RuleSection, shows_defaults=shows_defaults) for rule in rules]
    return shown


def mask_login(text: str) -> str:
    """Return the URL *text* without its login and the values of options that may be secret; other text unchanged."""
    return _OPTION.sub(_masked_option, _LOGIN.sub(f"{MASK}@", text)) if "://" in text else text


def _fields(section: BaseModel, model: type[BaseModel], *, shows_defaults: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        value = getattr(section, name)
        if value is not None and (shows_defaults or name in section.model_fields_set):
            found[info.alias or name] = _plain(value, name, shows_defaults=shows_defaults)
    return found


def _plain(value: object, key: str, *, shows_defaults: bool) -> Any:
    """Return *value*, of the field *key*, as plain data without secrets."""
    match value:
        case BaseModel():
            return _fields(value, type(value), shows_defaults=shows_defaults)
        case SecretStr():
            return _masked(value.get_secret_value(), key)
        case timedelta():
            return format_duration(value)
        case str():
            return literal(mask_login(str(value)))
        case Mapping():
            shown: dict[str, Any] = {}
            for name, one in cast("Mapping[str, object]", value).items():
                shown[name] = {} if one is None else _plain(one, key, shows_defaults=shows_defaults)
            return shown
        case Sequence():
            return [_plain(one, key, shows_defaults=shows_defaults) for one in cast("Sequence[object]", value)]
        case _:
            return value


def _masked(secret: str, key: str) -> str:
    """Return the mask for *secret*; of an address everything but the login and secret options."""
    if key not in _URL_KEYS or "://" not in secret:
        return MASK
    return _OPTION.sub(_masked_option, _SECRET_LOGIN.sub(f"{MASK}@", secret))


def _masked_option(match: re.Match[str]) -> str:
    mark, name, value = match.groups()
    return f"{mark}{name}={value if name in _SHOWN_OPTIONS else MASK}"
