"""`ways:` and an import of Azure from the command line: the dry run, the report and the summary name the way."""

import json
from collections.abc import Generator
from dataclasses import replace

import pytest

from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.fake.import_api import RESOURCE
from image_syncer.testing.images import single
from support.command_line import CommandLine

TOKEN = "eyJ.management"
IMAGE = single("app", layers=(10, 200_000))


@pytest.fixture
def azure() -> Generator[FakeRegistry]:
    """An Azure registry whose resource manager knows one token."""
    with FakeRegistry.in_thread(replace(profiles.ACR, accounts=Accounts({"manager": Account(TOKEN)}))) as registry:
        yield registry


def test_the_way_is_announced_taken_and_reported(cli: CommandLine, source: FakeRegistry, azure: FakeRegistry) -> None:
    """A rule with `ways: [stream]` streams; the other one is imported, with no byte through this machine."""
    source.load("team/app", IMAGE, "v1")
    cli.environment["MANAGEMENT_TOKEN"] = TOKEN
    cli.write(
        "mirror.yaml",
        f"""version: 1
registries:
  {azure.host}: {{control: {{password: '${{MANAGEMENT_TOKEN}}', url: '{azure.url}{RESOURCE}', wait: 1m}}}}
rules:
  - {{name: import, source: {source.host}/team/app, targets: {azure.host}/import}}
  - {{name: stream, source: {source.host}/team/app, targets: {azure.host}/stream, ways: [stream]}}
""",
    )
    dry = cli.run("sync", "-c", "mirror.yaml", "--dry-run")
    assert (dry.returncode, azure.imports.documents) == (0, [])
    for way in ("import", "stream"):
        assert f"{azure.host}/{way}:v1  {IMAGE.digest}  {way}\n" in dry.stdout
    done = cli.run("sync", "-c", "mirror.yaml", "--output", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {image["rule"]: (image["way"], image["bytes"]) for image in report["images"]} == {
        "import": ("import", 0),
        "stream": ("stream", IMAGE.size_bytes),
    }
    assert azure.content("import").tags == azure.content("stream").tags == {"v1": IMAGE.digest}
    assert TOKEN not in dry.stdout + dry.stderr + done.stdout + done.stderr
