"""What configuration files come down to, whatever their dialect."""

from dataclasses import dataclass

from image_syncer.registry.options import Access
from image_syncer.sync.rule import Rule


@dataclass(frozen=True, slots=True)
class Configuration:
    """How to reach registries, what to copy, and what a person should know about the files (*warnings*)."""

    access: tuple[Access, ...]
    rules: tuple[Rule, ...]
    warnings: tuple[str, ...] = ()
