"""What a rule selects of images by their content, and the form in which it copies them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Self, cast

from image_syncer.structs import Struct


class IndexForm(StrEnum):
    """How an index is stored of which a rule selects a part.

    Trimmed: without the other entries, under a new digest. Sparse: as it is, while the manifests of the other entries
    are missing; not every registry takes that. Auto: sparse where the target takes it, otherwise trimmed; a run then
    knows one of the last two for each target.
    """

    TRIMMED = "trimmed"
    SPARSE = "sparse"
    AUTO = "auto"
    AUTO_SPARSE = "auto sparse"
    AUTO_TRIMMED = "auto trimmed"

    @property
    def is_sparse(self) -> bool:
        """Whether the index keeps all its entries."""
        return self in {IndexForm.SPARSE, IndexForm.AUTO, IndexForm.AUTO_SPARSE}

    @property
    def is_auto(self) -> bool:
        """Whether the target decides."""
        return self not in {IndexForm.TRIMMED, IndexForm.SPARSE}


Texts = tuple[tuple[str, str], ...]
"""Keys, each with a glob or a `/regular expression/` for its value."""


class ContentSelection(Struct):
    """Select by the type of the artifact, its *annotations* and *labels*; and how to copy what is selected.

    *types* are `image`, `helm`, `wasm`, `model` or globs of media types; empty: all. *entries* select entries of an
    index by their annotations. *to_oci*: convert Docker's media types to those of OCI, which changes digests.
    """

    types: tuple[str, ...] = ()
    annotations: Texts = ()
    labels: Texts = ()
    entries: Texts = ()
    to_oci: bool = False
    index: IndexForm = IndexForm.TRIMMED

    @property
    def selects(self) -> bool:
        """Whether there is a condition that an image can fail."""
        return bool(self.types or self.annotations or self.labels or self.entries)

    def to_options(self) -> dict[str, Any]:
        """Return JSON from which `parse` makes this selection; values that are the default are left out."""
        values = {name: getattr(self, name) for name in self.__struct_specs__}
        return {name: value for name, value in values.items() if value != getattr(NO_CONTENT_SELECTION, name)}

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Return the selection of `to_options`."""

        def texts(name: str) -> Texts:
            pairs = cast("list[tuple[str, str]]", options.get(name, ()))
            return tuple((key, value) for key, value in pairs)

        return cls(
            tuple(options.get("types", ())),
            texts("annotations"),
            texts("labels"),
            texts("entries"),
            bool(options.get("to_oci", False)),
            IndexForm(options.get("index", IndexForm.TRIMMED)),
        )


NO_CONTENT_SELECTION: Final = ContentSelection()
"""All content, as it is."""
