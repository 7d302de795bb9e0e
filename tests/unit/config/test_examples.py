"""The files in examples/ are what users copy, so each must load."""

from pathlib import Path

import pytest

from image_syncer.config.load import load_file, load_seed
from image_syncer.oci import PlatformFilter

EXAMPLES = Path(__file__).parents[3] / "examples"
ENVIRONMENT = {"REGISTRY_PASSWORD": "one", "DOCKER_HUB_TOKEN": "two", "PAYMENTS_PASSWORD": "three", "TEAM": "blue"}


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_two_files_load(suffix: str) -> None:
    """Logins and rules of the two-file examples are complete, and variables are put in."""
    loaded = load_seed(
        auth=EXAMPLES / f"auth.{suffix}",
        images=EXAMPLES / f"images.{suffix}",
        platforms=PlatformFilter(),
        environment=ENVIRONMENT,
    )
    logins = {access.prefix: access.credential for access in loaded.access}
    robot = logins["registry.example.com/payments"]
    assert robot is not None
    assert (robot.username, robot.password) == ("robot$mirror", "three")
    assert str(loaded.rules[-1].targets[0]) == "registry.example.com/blue/app"
    assert (len(loaded.access), len(loaded.rules), loaded.warnings) == (4, 6, ())


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_single_file_loads(suffix: str) -> None:
    """The single-file examples hold the same in both syntaxes."""
    loaded = load_file(EXAMPLES / f"config.{suffix}", platforms=PlatformFilter(), environment=ENVIRONMENT)
    assert [rule.name for rule in loaded.rules] == [r"nginx:/^1\.2[67]\.[0-9]+$/", "redis:7.4"]
    assert [access.insecure for access in loaded.access] == [False, True]
    credential = loaded.access[0].credential
    assert credential is not None
    assert (credential.username, credential.password) == ("robot$mirror", "one")


def test_both_syntaxes_say_the_same() -> None:
    """A user may pick either example and gets the same rules."""
    rules = [
        load_seed(
            auth=None, images=EXAMPLES / f"images.{suffix}", platforms=PlatformFilter(), environment=ENVIRONMENT
        ).rules
        for suffix in ("yaml", "json")
    ]
    assert [(rule.name, rule.targets) for rule in rules[0]] == [(rule.name, rule.targets) for rule in rules[1]]


def test_every_example_is_tested() -> None:
    """No example is added without a test that loads it."""
    stems = {"auth", "images", "config"}
    configurations = {path.name for path in EXAMPLES.iterdir() if path.stem in stems}
    assert configurations == {f"{stem}.{suffix}" for stem in stems for suffix in ("yaml", "json")}
