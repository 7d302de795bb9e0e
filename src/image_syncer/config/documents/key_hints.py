"""What a user may have meant by an unknown key: another spelling, another tool's word, or another section."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final, cast, get_args

from pydantic import BaseModel

from image_syncer.config.native.native_values import known_keys

_OTHER_WORDS: Final[Mapping[str, str]] = {
    "allow": "include",
    "arch": "platforms",
    "architectures": "platforms",
    "deny": "exclude",
    "dest": "targets",
    "destination": "targets",
    "destinations": "targets",
    "from": "source",
    "glob": "include",
    "image": "source",
    "images": "source",
    "interval": "every",
    "ignore": "exclude",
    "os": "platforms",
    "password_file": "password: ${file:PATH}",
    "pass": "password",
    "regex": "include: '/.../'",
    "repo": "source",
    "schedule": "cron",
    "skip": "exclude",
    "to": "targets",
    "token": "password",
    "when": "cron",
}
"""Words of other tools, with what they are here."""

_SPELLING: Final = 0.75
"""How alike two words are of which one is a slip of the other."""

_REGSYNC: Final = frozenset({"creds", "sync"})
"""Sections of the one other tool whose files begin with `version: 1`."""

_OPTIONS: Final[Mapping[str, str]] = {"parallel": "--proc", "proc": "--proc", "retries": "--retries"}


def key_remedy(key: str, section: type[BaseModel], root: type[BaseModel]) -> str:
    """Return what to write in place of the unknown *key* in *section*, a part of the file *root*."""
    known = known_keys(section)
    word = _OTHER_WORDS.get(key.lower(), "")
    if word.partition(":")[0] in known:
        return f"did you mean {word}?"
    if key.lower() in _REGSYNC and section is root:
        return "a file of regsync has it: --from regsync reads such a file"
    if key.lower() in _OPTIONS and section is not root:
        return f"the command has the option {_OPTIONS[key.lower()]}"
    near = get_close_matches(key.lower(), known, n=1)
    if get_close_matches(key.lower(), known, n=1, cutoff=_SPELLING):
        return f"did you mean {near[0]}?"
    place = _place_of(key, section) or _place_of(key, root)
    if near:
        return f"did you mean {near[0]}, or {key} of {place}?" if place else f"did you mean {near[0]}?"
    return f"it is a key of {place}" if place else f"known keys: {', '.join(known)}"


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the sections that a value with *annotation* may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in cast("tuple[object, ...]", get_args(annotation)):
        yield from models_in(part)


def _place_of(key: str, section: type[BaseModel]) -> str | None:
    """Return the section below *section* that has *key*, the nearest one; None without one."""
    level, seen = [("", section)], {section}
    while level:
        found = [name for name, model in level if name and key in known_keys(model)]
        if found:
            return found[0]
        inner = [
            (info.alias or name, model)
            for _, outer in level
            for name, info in outer.model_fields.items()
            for model in models_in(info.annotation)
        ]
        level = [(name, model) for name, model in inner if model not in seen]
        seen |= {model for _, model in level}
    return None
