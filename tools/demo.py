"""Show the main job on this machine: two registries, a first run that copies, a second that is up to date.

Called by script/demo. It removes everything that it started and wrote.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.request_log import RequestLog
from lab import clean_environment, our_command, stop_on_signals
from requests_table import RunRequests, budget_problems, requests_table
from seeding import Seeder
from shelf import shelves
from support.docker_registry import DockerRegistry
from support.skopeo import Skopeo

_RUN_SECONDS = 300.0

Registry = DockerRegistry | FakeRegistry


class Demo:
    """The demo in its own directory, between the registries *source* and *target*."""

    def __init__(self, directory: Path, source: Registry, target: Registry, console: Console) -> None:
        self._directory = directory
        self._source = source
        self._target = target
        self._console = console
        self._shelves = shelves()
        self._environment = clean_environment(directory)

    def seed(self) -> None:
        """Fill the source with images whose layers contain real files."""
        with Seeder(self._source.host) as seeder:
            for shelf in self._shelves:
                for image, tags in shelf.images:
                    seeder.push(shelf.repository, image, tags)
                self._console.print(f"  {shelf.repository}: {shelf.about}", style="dim")

    def write_files(self) -> None:
        """Write the two files of the Go tool and show them."""
        auth = "".join(f"{registry.host}:\n  insecure: true\n" for registry in (self._source, self._target))
        lines = (
            f"{self._source.host}/{shelf.selection}: {self._target.host}/{shelf.target}" for shelf in self._shelves
        )
        for name, text in (("auth.yaml", auth), ("images.yaml", "\n".join(lines) + "\n")):
            (self._directory / name).write_text(text, encoding="utf-8")
            self._console.print(f"\n{name}", style="bold")
            self._console.print(text.rstrip(), style="dim", markup=False)

    def run(self, number: int) -> RunRequests:
        """Run the real command once and return the requests of both registries."""
        report = self._directory / f"report-{number}.json"
        command = ["image-syncer", "--auth", "auth.yaml", "--images", "images.yaml", "--report", report.name]
        self._console.rule(f"run {number}", align="left")
        self._console.print(f"$ {shlex.join(command)}", markup=False)
        before = len(_requests(self._source)), len(_requests(self._target))
        sys.stdout.flush()
        completed = subprocess.run(
            [our_command(), *command[1:]],
            cwd=self._directory,
            env=self._environment,
            timeout=_RUN_SECONDS,
            check=False,
        )
        if completed.returncode != 0:
            raise SystemExit(f"run {number}: exit code {completed.returncode}")
        outcomes = json.loads(report.read_text(encoding="utf-8"))["summary"]
        return RunRequests(
            number,
            outcomes["copied"],
            outcomes["unchanged"],
            _since(self._source, before[0]),
            _since(self._target, before[1]),
        )

    def compare(self) -> int:
        """Compare both sides of every image with skopeo, and return the number of differences."""
        if not Skopeo.is_installed():
            self._console.print("\nskopeo is not installed: no independent comparison of the two sides", style="yellow")
            return 0
        judge = Skopeo(self._directory)
        pairs = [pair for shelf in self._shelves for pair in shelf.pairs()]
        same = [
            judge.raw(f"{self._source.host}/{source}") == judge.raw(f"{self._target.host}/{target}")
            for source, target in pairs
        ]
        verdict = f"\nskopeo inspect --raw: {sum(same)} of {len(pairs)} manifests are the same, byte for byte"
        self._console.print(verdict)
        return len(pairs) - sum(same)


def main() -> int:
    """Show everything and return 0; 1 if the second run exceeded its requests, or if something differs."""
    console = Console(highlight=False, soft_wrap=True)
    with stop_on_signals(), ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-syncer-demo-")))
        source, target = (stack.enter_context(_registry(console)) for _ in range(2))
        demo = Demo(directory, source, target, console)
        console.print(f"Source registry {source.host}, target registry {target.host}; filling the source", style="bold")
        demo.seed()
        demo.write_files()
        runs = [demo.run(1), demo.run(2)]
        console.rule("requests, counted at the registries", align="left")
        console.print(requests_table(runs))
        problems = budget_problems(*runs)
        for problem in problems:
            console.print(f"over the request budget: {problem}", style="red")
        different = demo.compare()
    _what_next(console)
    return 1 if problems or different else 0


@contextmanager
def _registry(console: Console) -> Generator[Registry]:
    if DockerRegistry.is_installed():
        with DockerRegistry() as real:
            yield real
        return
    console.print("docker-registry is not installed: using a registry of the test kit instead", style="yellow")
    with FakeRegistry.in_thread() as fake:
        yield fake


def _requests(registry: Registry) -> RequestLog:
    return registry.requests if isinstance(registry, FakeRegistry) else registry.read_requests()


def _since(registry: Registry, start: int) -> RequestLog:
    return RequestLog(list(_requests(registry))[start:])


def _what_next(console: Console) -> None:
    lines: Sequence[str] = (
        "What to try next:",
        "  uv tool install .   and then   image-syncer copy nginx:1.27 registry.example.com/mirror/nginx",
        "  image-syncer --auth auth.yaml --images images.yaml --dry-run   with files like those in examples/",
        "  docs/how-to/migrate-from-the-go-tool.md   if you come from the Go tool",
    )
    console.print()
    for line in lines:
        console.print(line, markup=False)


if __name__ == "__main__":
    sys.exit(main())
