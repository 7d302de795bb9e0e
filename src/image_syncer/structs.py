"""`Struct`: immutable values with slots that are cheap to define and to make. Used like a frozen dataclass.

A frozen dataclass compiles seven functions when its module is imported, about 1 ms for each class, and sets each field
of an instance through `object.__setattr__`. A struct compiles one function, when its first instance is made, and sets
fields directly. So nothing stops a write at run time; the type checker does. docs/adr/0008 compares with msgspec.

    class Point(Struct):
        x: int
        y: int = 0

A subclass inherits the fields of its parent. `frozen=False` allows writes; `eq=False` compares by identity. Equality
is that of all fields between instances of one class, and the hash follows, unless the class has methods of its own.
"""

import sys
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Final, TypeVar, cast, dataclass_transform, overload

_T = TypeVar("_T")
_MISSING: Final = object()
_FACTORY: Final = "_made_"  # Prefix of a default factory in the scope of the compiled `__init__`.


class _FieldSpec:
    """What `field` says of one field."""

    __slots__ = ("compare", "default", "factory", "hash", "init", "repr")

    def __init__(
        self,
        default: object = _MISSING,
        factory: Callable[[], object] | None = None,
        flags: tuple[bool, bool, bool, bool] = (True, True, True, True),
    ) -> None:
        self.default = default
        self.factory = factory
        self.init, self.repr, self.hash, self.compare = flags


@overload
def field(*, default: _T, repr: bool = True, hash: bool = True, compare: bool = True) -> _T: ...
@overload
def field(*, default_factory: Callable[[], _T], repr: bool = True, hash: bool = True, compare: bool = True) -> _T: ...
@overload
def field(*, init: bool = True, repr: bool = True, hash: bool = True, compare: bool = True) -> Any: ...
def field(
    *,
    default: object = _MISSING,
    default_factory: Callable[[], object] | None = None,
    init: bool = True,
    repr: bool = True,  # noqa: A002 - the names of dataclasses.field
    hash: bool = True,  # noqa: A002 - see above
    compare: bool = True,
) -> Any:
    """Describe a field: its default, whether the text of the value shows it, and whether hash and equality use it.

    With *init* False, `__post_init__` sets the field.
    """
    return _FieldSpec(default, default_factory, (init, repr, hash and compare, compare))


def _annotated(namespace: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in the body of a class; `__slots__` of names that begin with `__` are none."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - not there before

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is None:
            names: list[str] = []
        else:
            names = list(annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF))
    else:
        names = list(namespace.get("__annotations__", ()))
    return [name for name in names if not name.startswith("__")]


def _spec(value: object) -> _FieldSpec:
    if isinstance(value, _FieldSpec):
        return value
    if isinstance(value, list | dict | set):
        raise TypeError("a mutable default is shared by all instances: use field(default_factory=...)")
    return _FieldSpec(value)


def _getter(names: list[str]) -> "attrgetter[Any]":
    return attrgetter(*(names or ["__class__"]))


def _given(names: list[str]) -> tuple[list[str], Callable[[object], tuple[object, ...]]]:
    """Return the *names* of the parameters, and a function that reads their values from an instance."""
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda value: tuple(getattr(value, name) for name in names)


def _compile_and_init(self: "Struct", *args: object, **kwargs: object) -> None:
    """Compile the `__init__` of this class, which replaces this one, and call it."""
    owner = next(base for base in type(self).__mro__ if base.__dict__.get("__init__") is _compile_and_init)
    init = _compiled_init(owner)
    type.__setattr__(owner, "__init__", init)
    init(self, *args, **kwargs)


def _compiled_init(owner: "type[Struct]") -> Callable[..., None]:
    scope: dict[str, Any] = {"_MISSING": _MISSING}
    parameters, lines = ["self"], [""]
    for name, spec in owner.__struct_specs__.items():
        if not spec.init:
            continue
        if spec.factory is not None:
            scope[_FACTORY + name] = spec.factory
            parameters.append(f"{name}=_MISSING")
            lines.append(f"self.{name} = {_FACTORY}{name}() if {name} is _MISSING else {name}")
            continue
        if spec.default is not _MISSING:
            scope[f"_default_{name}"] = spec.default
        parameters.append(name if spec.default is _MISSING else f"{name}=_default_{name}")
        lines.append(f"self.{name} = {name}")
    lines.append("self.__post_init__()" if hasattr(owner, "__post_init__") else "pass")
    body = "\n  ".join(lines)
    exec(f"def __init__({', '.join(parameters)}):{body}", scope)  # noqa: S102 - the text holds names of fields alone
    init = scope["__init__"]
    init.__qualname__ = f"{owner.__qualname__}.__init__"
    return init


class StructType(type):
    """The metaclass of structs: turns annotations into slots, before the class exists."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, frozen: bool = True, eq: bool = True
    ) -> "StructType":
        """Return the class *name* with the fields that *namespace* annotates."""
        del frozen  # For the type checker alone.
        inherited: dict[str, _FieldSpec] = {}
        for base in bases:
            inherited |= getattr(base, "__struct_specs__", {})
        own = {field_name: _spec(namespace.pop(field_name, _MISSING)) for field_name in _annotated(namespace)}
        specs = inherited | own
        if not eq:
            namespace.setdefault("__eq__", object.__eq__)
            namespace.setdefault("__hash__", object.__hash__)
        elif "__eq__" in namespace:
            namespace.setdefault("__hash__", None)
        namespace |= {
            "__slots__": tuple(field_name for field_name in own if field_name not in inherited),
            "__match_args__": tuple(specs),
            "__struct_specs__": specs,
            "__struct_compared__": _getter([key for key, spec in specs.items() if spec.compare]),
            "__struct_given__": _given([key for key, spec in specs.items() if spec.init]),
            "__struct_hashed__": _getter([key for key, spec in specs.items() if spec.hash]),
        }
        namespace.setdefault("__init__", _compile_and_init)
        return super().__new__(cls, name, bases, namespace)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, frozen: bool = True, eq: bool = True
    ) -> None:
        """Finish the class; `__new__` has used the options."""
        del frozen, eq
        super().__init__(name, bases, namespace)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Struct(metaclass=StructType):
    """The base class of all structs."""

    __struct_specs__: ClassVar[Mapping[str, _FieldSpec]]
    __struct_given__: ClassVar[tuple[list[str], Callable[[object], tuple[object, ...]]]]
    __struct_compared__: "ClassVar[attrgetter[Any]]"
    __struct_hashed__: "ClassVar[attrgetter[Any]]"

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        compared = self.__struct_compared__
        return bool(compared(self) == compared(other))

    def __hash__(self) -> int:
        return hash(self.__struct_hashed__(self))

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, spec in self.__struct_specs__.items() if spec.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"


def replace(value: _T, /, **changes: Any) -> _T:
    """Return a copy of *value*, a struct or a dataclass, with *changes* to its fields."""
    if not isinstance(value, Struct):
        import dataclasses  # noqa: PLC0415 - commands that need speed have structs alone

        return cast("_T", dataclasses.replace(cast("Any", value), **changes))
    names, read = value.__struct_given__
    return cast("_T", type(value)(**(dict(zip(names, read(value), strict=True)) | changes)))
