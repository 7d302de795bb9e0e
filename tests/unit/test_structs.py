"""Structs: the behaviour of frozen dataclasses with slots, without their cost."""

import copy
import pickle

import pytest

from image_syncer.structs import Struct, field, replace


class Point(Struct):
    """A struct with a default."""

    x: int
    y: int = 0


class Named(Point):
    """A struct with more fields than its parent."""

    name: str = field(default="", repr=False)
    notes: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    seen: int = field(default=0, compare=False)


class Checked(Struct):
    """A struct that checks its fields."""

    size: int
    half: float = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")
        object.__setattr__(self, "half", self.size / 2)


class Counter(Struct, frozen=False, eq=False):
    """A struct that may change."""

    count: int = 0


class Ignoring(Struct):
    """A struct with an equality of its own."""

    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignoring) and other.text.lower() == self.text.lower()

    def __hash__(self) -> int:
        return hash(self.text.lower())


class Nothing(Struct):
    """A struct without fields."""


def test_fields_are_set_by_position_by_name_and_by_default() -> None:
    """The order of the annotations is that of the parameters, the parent's first."""
    assert (Point(1).x, Point(1).y) == (1, 0)
    assert Point(y=3, x=2).y == 3
    named = Named(1, 2, "n")
    assert (named.x, named.y, named.name, named.notes, named.seen) == (1, 2, "n", {}, 0)


@pytest.mark.parametrize("arguments", [{}, {"x": 1, "z": 2}])
def test_a_missing_or_unknown_field_is_an_error(arguments: dict[str, int]) -> None:
    """As it is with any function."""
    with pytest.raises(TypeError):
        Point(**arguments)


def test_each_instance_has_a_default_of_its_own() -> None:
    """A factory is called for each instance, and a mutable default is refused."""
    first, second = Named(1), Named(1)
    first.notes["a"] = "b"
    assert second.notes == {}
    with pytest.raises(TypeError, match="default_factory"):
        type("Shared", (Struct,), {"__annotations__": {"items": list}, "items": []})


def test_equality_and_hash_use_the_compared_fields() -> None:
    """Fields with compare=False count for neither, those with hash=False for equality alone."""
    assert Named(1, seen=1) == Named(1, seen=2)
    assert hash(Named(1, seen=1)) == hash(Named(1, seen=2))
    assert Named(1, notes={"a": "b"}) != Named(1)
    assert hash(Named(1, notes={"a": "b"})) == hash(Named(1))
    assert Point(1) != Named(1)
    assert Point(1) != (1, 0)
    assert Nothing() == Nothing()
    assert len({Nothing(), Nothing()}) == 1


def test_an_equality_of_its_own_counts() -> None:
    """A class may define equality and hash itself."""
    assert Ignoring("A") == Ignoring("a")
    assert len({Ignoring("A"), Ignoring("a")}) == 1


def test_without_equality_only_the_same_object_is_equal() -> None:
    """A struct that changes is compared by identity, and its fields can be written."""
    one = Counter()
    one.count += 1
    assert one.count == 1
    assert one != Counter(1)
    assert len({one, Counter(1)}) == 2


def test_a_struct_has_slots_and_no_dict() -> None:
    """A typing error in a name is found, and an instance takes little memory."""
    with pytest.raises(AttributeError):
        Counter().cuont = 1  # pyright: ignore[reportAttributeAccessIssue]
    assert not hasattr(Named(1), "__dict__")


def test_the_text_of_a_value_hides_secret_fields() -> None:
    """Fields with repr=False hold secrets."""
    assert repr(Named(1, name="secret")) == "Named(x=1, y=0, notes={}, seen=0)"


def test_a_value_can_be_checked_when_it_is_made() -> None:
    """`__post_init__` runs for new values and for replaced ones."""
    assert replace(Checked(1), size=2) == Checked(2)
    assert replace(Checked(1), size=3).half == 1.5
    with pytest.raises(ValueError, match="negative"):
        replace(Checked(1), size=-1)


def test_replace_changes_nothing_but_the_named_fields() -> None:
    """Defaults do not come back."""
    assert replace(Named(1, 2, "n", {"a": "b"}), y=3) == Named(1, 3, "n", {"a": "b"})
    with pytest.raises(TypeError):
        replace(Point(1), z=1)


def test_values_match_patterns_by_position() -> None:
    """As dataclasses do."""
    match Named(1, 2):
        case Named(x, y):
            assert (x, y) == (1, 2)


def test_values_are_copied_and_pickled() -> None:
    """Processes exchange them."""
    value = Named(1, 2, "n", {"a": "b"})
    assert copy.deepcopy(value) == value
    assert pickle.loads(pickle.dumps(value)) == value
