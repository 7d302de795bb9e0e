"""Users copy the files in examples/, so each must load."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from image_syncer.config.load import load_file, load_go_tool_files
from image_syncer.config.model import BasicCredentials, ForkSettings
from image_syncer.oci import PlatformFilter, Repository
from image_syncer.registry.settings import Credential, HostLimits, Timeouts
from image_syncer.sync.image_lists import ImageList
from image_syncer.sync.referrer_settings import ReferrerSettings

EXAMPLES = Path(__file__).parents[3] / "examples"
ENVIRONMENT = {"REGISTRY_PASSWORD": "one", "DOCKER_HUB_TOKEN": "two", "PAYMENTS_PASSWORD": "three", "TEAM": "blue"}


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_two_files_load(suffix: str) -> None:
    """Logins and rules of the two-file examples are complete, with variables replaced."""
    loaded = load_go_tool_files(
        auth=EXAMPLES / f"auth.{suffix}",
        images=EXAMPLES / f"images.{suffix}",
        platforms=PlatformFilter(),
        environment=ENVIRONMENT,
    )
    logins = {access.prefix: access.credential for access in loaded.accounts}
    robot = logins["registry.example.com/payments"]
    assert robot is not None
    assert (robot.username, robot.password) == ("robot$mirror", "three")
    assert str(loaded.rules[-1].targets[0]) == "registry.example.com/blue/app"
    assert (len(loaded.accounts), len(loaded.rules), loaded.warnings) == (4, 6, ())


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_the_single_file_loads(suffix: str) -> None:
    """The single-file examples have the same content in both syntaxes."""
    loaded = load_file(EXAMPLES / f"config.{suffix}", platforms=PlatformFilter(), environment=ENVIRONMENT)
    assert [rule.name for rule in loaded.rules] == [r"nginx:/^1\.2[67]\.[0-9]+$/", "redis:7.4"]
    assert [access.insecure for access in loaded.accounts] == [False, True]
    credential = loaded.accounts[0].credential
    assert credential is not None
    assert (credential.username, credential.password) == ("robot$mirror", "one")


def test_both_syntaxes_have_the_same_rules() -> None:
    """A user may copy either example."""
    rules = [
        load_go_tool_files(
            auth=None, images=EXAMPLES / f"images.{suffix}", platforms=PlatformFilter(), environment=ENVIRONMENT
        ).rules
        for suffix in ("yaml", "json")
    ]
    assert [(rule.name, rule.targets) for rule in rules[0]] == [(rule.name, rule.targets) for rule in rules[1]]


def test_the_native_file_loads() -> None:
    """It has logins, timeouts, schedules, events, hooks, a queue and a server; there is no warning."""
    secrets = {"HARBOR_HOOK_SECRET": "c", "HUB_HOOK_SECRET": "0123456789abcdef" * 2, "GITHUB_HOOK_SECRET": "e"}
    more = {"RABBIT_PASSWORD": "f", "OPERATOR_PASSWORD": "g", "API_TOKEN": "h", "DOCKER_HUB_TOKEN_2": "i"}
    environment = {**ENVIRONMENT, **secrets, **more}
    loaded = load_file(EXAMPLES / "native.yaml", platforms=PlatformFilter(), environment=environment)
    assert [rule.name for rule in loaded.rules] == ["nginx", "payments", "kube-proxy", "team"]
    assert [schedule.rule for schedule in loaded.schedules] == ["nginx", "payments", "kube-proxy"]
    assert [hook.kind for hook in loaded.hooks] == ["harbor", "dockerhub", "github"]
    hub = loaded.accounts[0]
    logins = [access.credential for access in (hub, *hub.further)]
    assert logins == [Credential("example", "two"), Credential("example-2", "i")]
    assert loaded.timeouts == Timeouts(connect=10, stall=30, image=7200, patience=1800)
    assert loaded.host_limits == {"registry.example.com": HostLimits(transfers=10, requests=64)}
    assert loaded.server is not None
    assert loaded.server.login == BasicCredentials("operator", "g")
    assert (len(loaded.accounts), len(loaded.queues), loaded.warnings) == (3, 1, ())


def test_the_file_for_signed_images_loads() -> None:
    """It has referrers, a gate and statements; rules keep what the defaults say and they do not."""
    signing = ec.generate_private_key(ec.SECP256R1())
    private = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = signing.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    environment = {"RELEASE_PUBLIC_KEY": public.decode(), "MIRROR_PRIVATE_KEY": private.decode()}
    loaded = load_file(EXAMPLES / "signed.yaml", platforms=PlatformFilter(), environment=environment)
    app, hardened = loaded.rules
    assert app.referrers == ReferrerSettings(exclude=("scan",), recheck_seconds=3600.0, required=True)
    assert str(hardened.referrers.source_of(Repository("dhi.io", "python"))) == "registry.scout.docker.com/python"
    assert (hardened.referrers.exclude, hardened.referrers.recheck_seconds) == (("scan",), 3600.0)
    trust = loaded.trust["app"]
    assert (trust.gate is not None, trust.attester is not None, loaded.trust.keys()) == (True, True, {"app"})
    assert loaded.warnings == ()


def test_the_forks_file_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has every key, and an auth file beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auth.yaml").write_text((EXAMPLES / "auth.yaml").read_text())
    environment = {**ENVIRONMENT, "RABBIT_PASSWORD": "f", "OPERATOR_PASSWORD": "g"}
    loaded = load_file(EXAMPLES / "sync.yaml", platforms=PlatformFilter(), environment=environment)
    assert [len(rule.targets) for rule in loaded.rules] == [2, 1]
    assert loaded.fork == ForkSettings(600.0, "./images.json", "./app.log", transfers=5, retries=2)
    assert (len(loaded.accounts), len(loaded.queues[0].urls), loaded.warnings) == (4, 2, ())


def test_the_image_lists_load() -> None:
    """Each kind of list is shown, with every key that it has but those for other clusters."""
    loaded = load_file(EXAMPLES / "image-lists.yaml", platforms=PlatformFilter(), environment={})
    lists = {rule.name: rule.source for rule in loaded.rules if isinstance(rule.source, ImageList)}
    assert {one.kind for one in lists.values()} == {"helm", "compose", "manifests", "list", "kubernetes"}
    assert lists["gateway"].include_chart
    assert lists["platform"].uncertain
    assert len(lists["platform"].values) == len(lists["manifests"].paths) == 2
    cluster = lists["cluster"].cluster
    assert cluster is not None
    assert (cluster.namespaces, cluster.grace_seconds) == (("shop", "payments"), 7 * 86400.0)
    assert loaded.warnings == ()


def test_every_example_is_tested() -> None:
    """No example is added without a test that loads it."""
    stems = {"auth", "images", "config"}
    both = {f"{stem}.{suffix}" for stem in stems for suffix in ("yaml", "json")}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == both | {
        "every-key.yaml",  # tests/unit/config/test_every_key.py
        "image-lists.yaml",
        "image-syncer.schema.json",
        "native.yaml",
        "signed.yaml",
        "sync.yaml",
    }
