"""The recipes of docs/how-to/write-rules.md, run as they stand there."""

import asyncio
import re
import shlex
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from image_syncer.oci import Platform
from image_syncer.structs import Struct
from image_syncer.testing.images import LINUX_AMD64, LINUX_ARM64, Entry, index, single
from support.command_line import CommandLine
from support.docker_registry import DockerRegistry
from support.fake_cluster import fake_cluster, pod
from support.registry_http import Peer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-rules.md"
SOURCE, TARGET = "registry.example.com", "mirror.example.com"
PLATFORMS = (LINUX_AMD64, LINUX_ARM64, Platform("linux", "s390x"))
APP_TAGS = ("1.27.9", "1.28.3", "1.28.4", "1.29.0", "1.29.5", "1.30.0", "1.30.1", "1.31.0-rc.1", "latest")


class Recipe(Struct):
    """A section of the page: its *files* by name, and its commands with the output that the page shows."""

    title: str
    files: dict[str, str]
    commands: list[tuple[str, list[str]]]


def recipes() -> Iterator[Recipe]:
    """Yield the recipes of the page."""
    for section in PAGE.read_text().split("\n## ")[1:]:
        files: dict[str, str] = {}
        commands: list[tuple[str, list[str]]] = []
        for kind, block in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
            if kind == "console":
                for line in block.splitlines():
                    if line.startswith("$ "):
                        commands.append((line.removeprefix("$ "), []))
                    else:
                        commands[-1][1].append(line)
            else:
                name, _, content = block.partition("\n")
                files[name.removeprefix("# ")] = content
        yield Recipe(section.partition("\n")[0], files, commands)


RECIPES = list(recipes())


@pytest.fixture(scope="module")
def registries() -> Generator[tuple[DockerRegistry, DockerRegistry]]:
    """Two real registries; the first has what the recipes copy."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as target:
        peer = Peer(source.host)
        for tag in APP_TAGS:
            peer.push("team/app", single(f"app {tag}"), tag)
        for name in ("team/web", "team/scratch/try"):
            peer.push(name, single(name), "latest")
        entries = [Entry(single(f"multi {platform}", platform=platform), platform) for platform in PLATFORMS]
        peer.push("team/multi", index(entries), "latest")
        yield source, target


def test_the_page_has_twelve_recipes() -> None:
    """Each has a command and shows its output."""
    assert len(RECIPES) == 12
    assert all(recipe.commands and all(shown for _, shown in recipe.commands) for recipe in RECIPES)


@pytest.mark.slow  # The client of Kubernetes takes seconds to import.
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title.partition(".")[0])
async def test_a_recipe_runs_as_it_stands(
    cli: CommandLine, registries: tuple[DockerRegistry, DockerRegistry], recipe: Recipe
) -> None:
    """Only the names of the registries are replaced; `...` on the page stands for any text."""
    source, target = registries
    shutil.rmtree(target.storage / "docker", ignore_errors=True)  # What an earlier recipe has copied.
    hosts = {SOURCE: source.host, TARGET: target.host}
    for name, content in recipe.files.items():
        cli.write(name, replaced(content, hosts))
    async with fake_cluster() as cluster:
        cluster.pods = [pod("app", f"{source.host}/team/app:1.30.1", namespace="shop")]
        cluster.write_kubeconfig(cli.directory / "kubeconfig")
        await asyncio.to_thread(run_commands, cli, recipe, hosts)


def run_commands(cli: CommandLine, recipe: Recipe, hosts: dict[str, str]) -> None:
    """Run the commands of *recipe* and compare what they print."""
    names = {host: name for name, host in hosts.items()}
    for command, shown in recipe.commands:
        arguments = shlex.split(replaced(command, hosts))
        assert arguments.pop(0) == "image-syncer"
        done = cli.run(*arguments)
        assert done.returncode == 0, done.stderr
        assert_shown(shown, replaced(done.stderr + done.stdout, names))


def replaced(text: str, names: dict[str, str]) -> str:
    """Return *text* with other host names."""
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def assert_shown(shown: list[str], printed: str) -> None:
    """Assert that the lines of the page occur in *printed*, in this order."""
    lines = iter(re.sub(r"\s+", " ", line).strip() for line in printed.splitlines())
    for expected in filter(str.strip, shown):
        pattern = re.escape(re.sub(r"\s+", " ", expected).strip()).replace(r"\.\.\.", ".*")
        assert any(re.fullmatch(pattern, line) for line in lines), f"{expected!r} is not in:\n{printed}"
