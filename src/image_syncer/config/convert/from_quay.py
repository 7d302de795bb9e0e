"""Quay's repository mirrors, as its API returns them (`GET /api/v1/repository/{repository}/mirror`)."""

from image_syncer.config.convert.conversion import Conversion, Value, tags_of
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import ListNode, Node
from image_syncer.oci import Repository


def convert_quay(document: Node, conversion: Conversion) -> None:
    """Add the mirrors of *document*, one or a list, to *conversion*."""
    items = document.items if isinstance(document, ListNode) else (document,)
    for at, item in enumerate(items):
        _convert_mirror(Fields.of(item, conversion, f"[{at}]"))


def _convert_mirror(mirror: Fields) -> None:
    conversion = mirror.conversion
    reference = mirror.required("external_reference").removeprefix("docker://")
    target = conversion.required_target("a mirror of Quay")
    repository = Repository.parse(reference)
    if mirror.truth("is_enabled") is False:
        conversion.note(mirror.line_of("is_enabled"), f"{reference}: the mirror is disabled, so it makes no rule")
        return
    config = mirror.section("external_registry_config")
    if config.truth("verify_tls") is False:
        conversion.registry(repository.registry)["insecure"] = True
    config.truth("unsigned_images")
    config.lose("proxy", why="set HTTPS_PROXY and NO_PROXY")
    config.finish()
    if mirror.text("external_registry_username"):
        mirror.lose("external_registry_username", why="Quay does not export passwords: add the login to registries:")
    rule = mirror.section("root_rule")
    rule.text("rule_kind")
    globs = [text.strip() for text in rule.texts("rule_value") if text.strip()]
    rule.lose("left_child", "right_child", why="only a list of globs is known")
    rule.finish()
    seconds = mirror.text("sync_interval")
    every: Value = f"{seconds}s" if seconds and seconds.isdecimal() and int(seconds) else None
    conversion.add_rule(reference, str(repository), [f"{target}/{{repository}}"], tags=tags_of(globs), every=every)
    mirror.skip("mirror_type", "sync_start_date", "sync_status", "sync_retries_remaining", "sync_expiration_date")
    mirror.skip("robot_username", "last_sync")
    mirror.finish()
