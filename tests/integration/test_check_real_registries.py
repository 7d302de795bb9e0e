"""The check against docker-registry, in each form of login."""

from pathlib import Path

import pytest

from image_syncer.app import open_app
from image_syncer.app_check import check_registries
from image_syncer.app_options import Options
from image_syncer.registry.checks.check_values import CheckStep, RegistryToCheck
from image_syncer.registry.settings import Credential, RegistryAccount, Timeouts
from image_syncer.structs import replace
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single
from support.docker_registry import DockerRegistry
from support.places import PASSWORD, USER

PATH = "check/app"
ALL_OK = {"name", "ping", "login", "pull", "head", "quota", "push", "chunks", "cancel", "mount", "write"}


def options(home: Path, account: RegistryAccount) -> Options:
    """Options with one login, and none of this machine."""
    return Options(access=(account,), environment={}, home=home, timeouts=Timeouts(patience=0.0))


async def push_image(registry: DockerRegistry, home: Path, account: RegistryAccount) -> None:
    """Copy an image into the repository that is checked."""
    async with FakeRegistry() as fake, open_app(options(home, account)) as syncer:
        fake.load(PATH, single("check"), "v1")
        result = await syncer.copy(fake.repository(PATH).tag("v1"), [registry.repository(PATH).tag("v1")])
    assert result.results[0].reason is None


async def steps_of(
    registry: DockerRegistry, home: Path, account: RegistryAccount, *, writes: bool = False
) -> dict[str, CheckStep]:
    """Return the steps for the repository, source and target at once, by their names."""
    repository = registry.repository(PATH)
    wanted = RegistryToCheck(registry.host, repository, repository)
    (report,) = await check_registries(options(home, account), [wanted], writes=writes)
    return {step.name: step for step in report.steps}


def failed(steps: dict[str, CheckStep]) -> list[str]:
    """Return the names of the steps that failed."""
    return [name for name, step in steps.items() if step.status == "failed"]


@pytest.mark.parametrize("name", ["docker_registry", "docker_htpasswd", "docker_bearer", "docker_tls"])
async def test_each_form_of_login_passes_with_the_right_password_and_fails_with_a_wrong_one(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """With the right one everything that docker-registry can do is found."""
    registry: DockerRegistry = request.getfixturevalue(name)
    needs_login = name in {"docker_htpasswd", "docker_bearer"}
    right = RegistryAccount(registry.host, Credential(USER, PASSWORD) if needs_login else None, insecure=True)
    await push_image(registry, tmp_path, right)
    steps = await steps_of(registry, tmp_path, right, writes=True)
    assert failed(steps) == []
    assert {step for step in ALL_OK if steps[step].status != "ok"} == set()
    assert steps["referrers"].status == "note"  # distribution 2.8 has no such API.
    assert steps["tls"].status == ("warning" if name == "docker_tls" else "note")
    if needs_login:
        steps = await steps_of(registry, tmp_path, replace(right, credential=Credential(USER, "wrong")))
        assert failed(steps) == ["login"]
        assert steps["login"].remedy
