"""A plain list: one reference a line, `#` begins a comment."""

from collections.abc import Iterable

from image_syncer.config.convert.conversion import Conversion
from image_syncer.errors import ConfigError, InvalidReference
from image_syncer.oci import Reference, Repository
from image_syncer.sync.image_text import parse_image


def convert_list(text: str, conversion: Conversion) -> None:
    """Add a rule for each repository of the references in *text*."""
    target = f"{conversion.required_target('a list')}/{{repository}}"
    found: list[Reference] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        try:
            parsed = parse_image(name)
        except InvalidReference as error:
            raise ConfigError(error.message, file=conversion.file, line=number, remedy=error.remedy) from None
        if parsed.tag is None:
            found.append(parsed.reference)
        else:
            name = f"{parsed.reference.repository}:{parsed.tag}"
            conversion.add_rule(name, str(parsed.reference), [f"{target}:{parsed.tag}"])
    add_references(found, target, conversion)


def add_references(references: Iterable[Reference], target: str, conversion: Conversion) -> None:
    """Add a rule for each repository of *references*, with their tags, and one for each digest."""
    tags: dict[Repository, list[str]] = {}
    for reference in references:
        if reference.tag is None:
            name = f"{reference.repository}@{str(reference.digest)[:19]}"
            conversion.add_rule(name, str(reference), [target])
        else:
            tags.setdefault(reference.repository, []).append(reference.tag)
    for repository, names in tags.items():
        conversion.add_rule(str(repository), str(repository), [target], tags=list(dict.fromkeys(names)))
