"""The page on the test kit has working code, and mentions every fault and profile."""

import re
from pathlib import Path

import pytest

from image_syncer.testing import Profile, faults, profiles

_PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "test-with-the-fake-registry.md").read_text(encoding="utf-8")
_EXAMPLES = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)


@pytest.mark.parametrize("example", _EXAMPLES, ids=range(len(_EXAMPLES)))
def test_the_examples_work(example: str) -> None:
    """Its assertions hold."""
    assert "assert" in example
    exec(compile(example, "test-with-the-fake-registry.md", "exec"), {})


def test_every_fault_is_described() -> None:
    """By its name in code."""
    makers = [name for name in faults.__all__ if name[0].islower()]
    assert [name for name in makers if f"`{name}(" not in _PAGE] == []


def test_every_profile_is_described() -> None:
    """With the product's name."""
    named = {name: value for name, value in vars(profiles).items() if isinstance(value, Profile)}
    beside = {"monolithic", "artifactory-unnamed"}  # They are not products.
    beside |= {"alibaba", "huawei", "tencent", "volcengine"}  # Only their APIs are known.
    assert {profile.name for profile in profiles.ALL} == {profile.name for profile in named.values()} - beside
    assert [name for name in named if name != "MONOLITHIC" and f"| `{name}` |" not in _PAGE] == []
