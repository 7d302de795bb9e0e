"""What a module of a vendor's listing does. Values only: everything that it reads is untrusted."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol, cast

from image_syncer.bounded_json import InvalidJson
from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest
from image_syncer.registry.settings import Credential
from image_syncer.registry.vendor_api import ApiRequest
from image_syncer.registry.vendors.vendor_profile import ListedTag
from image_syncer.structs import Struct, field

_MOST_DIGITS = 10


class Listing(Struct):
    """The tags of the repository *path* at *registry*, to be listed.

    *server* is the API's URL without a slash at its end; empty: the registry itself, or what a library finds. The API
    gets *credential*, and the *token* that a login gave; without a credential, it is asked without a login.
    """

    registry: str
    path: str
    server: str = ""
    credential: Credential | None = None
    token: str = field(default="", repr=False)

    @property
    def first(self) -> str:
        """The first component of the path: the namespace, project or organisation; empty for a path of one."""
        return self.path.rpartition("/")[0] and self.path.partition("/")[0]

    @property
    def rest(self) -> str:
        """The path without its first component; the path itself if it has one component."""
        return self.path.partition("/")[2] or self.path


class TagPage(Struct):
    """One page: its tags, and the *cursor* of the next one, empty after the last."""

    tags: list[ListedTag]
    cursor: str = ""


class Lister(Protocol):
    """Speaks a vendor's listing without I/O; the first page has the cursor ""."""

    def login(self, listing: Listing) -> ApiRequest | None:
        """Return the request for a token; None if the listing needs none."""
        ...

    def read_token(self, document: object) -> str:
        """Return the token in the response to `login`; `InvalidJson` if there is none."""
        ...

    def request(self, listing: Listing, cursor: str) -> ApiRequest | None:
        """Return the request for the page at *cursor*; None if the listing cannot be had, such as without a login."""
        ...

    def read_page(self, document: object, cursor: str) -> TagPage:
        """Return the page at *cursor* in the response; `InvalidJson` if it is no such page."""
        ...


PageReader = Callable[[str], TagPage]
"""Returns the page at a cursor through a vendor's library; it blocks."""


class WithoutLogin:
    """A lister that needs no token of its own."""

    def login(self, listing: Listing) -> ApiRequest | None:
        """Return None."""
        del listing
        return None

    def read_token(self, document: object) -> str:
        """Refuse every response: none is expected."""
        del document
        raise InvalidJson("no login was asked for")


def entries_in(document: object, *names: str) -> list[object]:
    """Return the list in the members *names*, one within the other; `InvalidJson` if there is none."""
    for name in names:
        document = fields_of(document).get(name)
    if not isinstance(document, list):
        raise InvalidJson(f"no list {'.'.join(names)}")
    return cast("list[object]", document)


def fields_of(value: object) -> dict[str, object]:
    """Return *value* if it is an object, else an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def listed(name: object, digest: object, since: object = None) -> Iterator[ListedTag]:
    """Yield the tag *name* with *digest* and the date *since*; nothing if one of the former is malformed.

    A date that cannot be right is None.
    """
    if not isinstance(name, str) or not isinstance(digest, str):
        return
    try:
        yield ListedTag(name, Digest.parse(digest), time_of(since))
    except InvalidReference:
        return


def time_of(value: object) -> datetime | None:
    """Return the time in *value*, a text (RFC 3339) or a time with a zone; None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime) or value.tzinfo is None or not 1 < value.year < 9999:  # noqa: PLR2004 - the ends
        return None
    return value.astimezone(UTC)


def page_number(cursor: str) -> int:
    """Return the number of the page at *cursor*, from 1."""
    return int(cursor) if cursor else 1


def is_followed(cursor: str, entries: int, size: int, total: object) -> bool:
    """Whether pages of *size* follow the one at *cursor*, which has *entries*, out of *total* if that is a number."""
    text = str(total)
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
        return entries >= size
    return entries > 0 and page_number(cursor) * size < int(text)


def next_number(cursor: str, *, has_more: bool) -> str:
    """Return the cursor of the page after *cursor*; empty if there is none."""
    return str(page_number(cursor) + 1) if has_more else ""
