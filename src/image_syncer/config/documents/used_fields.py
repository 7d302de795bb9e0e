"""Models reduced to the keys that a file has: to build the validators of all others takes longer than to read it."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from image_syncer.config.native.native_values import Checked, Section

Model = TypeVar("Model", bound=BaseModel)
_Keys = tuple[str, ...]

_TOGETHER: Final = ("source", "images_from")
"""An item without the first key is checked by the validator of the second one, which looks at the first."""


def reduced(model: type[Model], data: Mapping[str, Any]) -> type[Model]:
    """Return a model that reads *data* as *model* does, for data without a mistake.

    A field without a key is an attribute of the class, with its default. `model_fields` has the others alone.
    """
    if not issubclass(model, Section):
        return model
    lists = [(name, cast("list[object]", value)) for name, value in data.items() if isinstance(value, list)]
    items = tuple((name, keys_of(_keys(item) for item in value)) for name, value in lists)
    return cast("type[Model]", _reduced(model, tuple(sorted(data)), items))


def reduced_item(model: type[Model], keys: _Keys) -> type[Model]:
    """Return *model* for items that have no other keys than *keys*."""
    return cast("type[Model]", _reduced(cast("type[Section]", model), keys, ()))


def keys_of(items: Iterable[Collection[str]]) -> _Keys:
    """Return the keys that decide about items with these keys."""
    found = set[str]()
    for keys in items:
        found.update(keys, () if _TOGETHER[0] in keys else _TOGETHER)
    return tuple(sorted(found))


def _keys(item: object) -> Collection[str]:
    return cast("dict[str, object]", item).keys() if isinstance(item, dict) else ()


@lru_cache(maxsize=64)
def _reduced(model: type[Section], keys: _Keys, items: tuple[tuple[str, _Keys], ...]) -> type[Section]:
    known = {info.alias or name: name for name, info in model.model_fields.items()}
    if not known.keys() >= set(keys):
        return model
    wanted = {known[key] for key in keys} | {name for name, info in model.model_fields.items() if info.is_required()}
    keys_of_items = dict(items)
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        if name in wanted:
            fields[name] = _of_reduced_items(info.annotation, keys_of_items.get(info.alias or name, ())), info
    made = create_model(model.__name__, __base__=Section, **fields)
    for name, info in model.model_fields.items():
        if name not in wanted:
            setattr(made, name, _default(info))
    return made


def _default(info: FieldInfo) -> Any:
    factory = info.default_factory
    if isinstance(factory, type) and issubclass(factory, Section):
        return factory.model_construct()  # It builds no validators.
    return info.get_default(call_default_factory=True, validated_data={})


def _of_reduced_items(annotation: Any, keys: _Keys) -> Any:
    """Return *annotation* with the model of its `Checked` items, if it has such, reduced to *keys*."""
    item = next(iter(get_args(annotation)), None)
    if get_origin(item) is not Checked:
        return annotation
    (model,) = get_args(item)
    return tuple[Checked[reduced_item(model, keys)], ...]
