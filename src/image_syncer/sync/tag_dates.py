"""Dates of tags: since when they are public, and when their images were created.

A tag is public since the date in the registry's list of tags, or else since this tool first saw it with its digest.
What an image says of itself does not count for that: an attacker writes it. An image was created at the listed date, or
else when its config says, or else when it was first seen.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from image_syncer.bounded_json import parse_object
from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import CopyFailed, NotFound, ProtocolError, Refused, StoreError, TooLarge
from image_syncer.oci import Descriptor, Digest, Index, Repository
from image_syncer.roles import FirstSeen, ImageDates, Sighting, Stores
from image_syncer.sync.manifest_reader import ManifestReader

MOST_READ: Final = 10_000
"""The most images of one rule that are read for their dates, in one run."""

_STEP: Final = "read dates"
_OLDEST: Final = datetime(2013, 1, 1, tzinfo=UTC)  # Docker began in 2013; reproducible builds set 0 or 1980.
_CLOCK_SKEW: Final = timedelta(minutes=5)
_UNREADABLE: Final = (NotFound, ProtocolError, TooLarge)
_UNKNOWN_OS: Final = "unknown"
_DEEPEST: Final = 3

Times = Mapping[str, Mapping[Digest, datetime]]


class TagDates:
    """Finds dates, *width* images at once; *now* returns the time. Keeps what it reads, so it is for one run."""

    def __init__(
        self,
        stores: Stores,
        reader: ManifestReader,
        first_seen: FirstSeen,
        image_dates: ImageDates,
        *,
        width: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stores = stores
        self._reader = reader
        self._first_seen = first_seen
        self._image_dates = image_dates
        self._width = width
        self.now = now
        self._times: dict[Repository, dict[str, dict[Digest, datetime]]] = {}

    async def published(self, repository: Repository, tags: Sequence[str]) -> dict[str, datetime]:
        """Return since when each one of *tags* is public with the digest that was seen last; new ones since now.

        A new tag is resolved once, so that its digest is known from then on. `CopyFailed` without a state, unless the
        registry lists dates.
        """
        listed = self._listed(repository)
        undated = [tag for tag in tags if tag not in listed]
        if undated and not self._first_seen.is_durable:
            raise CopyFailed(_needs_state(repository), side="source", step=_STEP)
        known = await self._known(repository, tags) if self._first_seen.is_durable else {}
        new = {tag: listed[tag] for tag in tags if tag in listed and listed[tag][0] not in known.get(tag, {})}
        digests = await self._digests(repository, [tag for tag in undated if tag not in known], raises=False)
        now = self.now()
        new |= {tag: (digest, now) for tag, digest in digests.items()}
        if self._first_seen.is_durable:  # Other processes, which did not read the list, know the listed dates then.
            await self._record(repository, new)
        since = {tag: max(times.values()) for tag, times in known.items()}
        return {**since, **{tag: at for tag, (_, at) in new.items()}, **_dates(listed, tags)}

    async def age_seconds(self, repository: Repository, tag: str, digest: Digest) -> float:
        """Return for how long *tag* has been public with *digest*; 0 if it is seen for the first time now."""
        now = self.now()
        listed_digest, since = self._listed(repository).get(tag, (None, now))
        if listed_digest != digest:
            known = await self._known(repository, [tag])
            since = known.get(tag, {}).get(digest, now)
            if digest not in known.get(tag, {}):
                await self._record(repository, {tag: (digest, now)})
        return (now - since).total_seconds()

    async def created(self, repository: Repository, tags: Sequence[str]) -> dict[str, datetime]:
        """Return when the image of each one of *tags* was created; tags that cannot be resolved are left out.

        `CopyFailed` if a later attempt may read them: without its date, an old image would count as new.
        """
        listed = self._listed(repository)
        digests = await self._digests(repository, [tag for tag in tags if tag not in listed], raises=True)
        dates = dict(await self._image_dates.created(set(digests.values())))
        unread = [digest for digest in dict.fromkeys(digests.values()) if digest not in dates]

        async def read(digest: Digest) -> None:
            try:
                dates[digest] = await self._created_at(repository, digest)
            except CopyFailed as failure:
                if not isinstance(failure.cause, _UNREADABLE):
                    raise
                dates[digest] = None
            except ProtocolError:
                dates[digest] = None
            self._image_dates.record(digest, dates[digest])

        await for_each(unread, read, width=self._width)
        found = {tag: date for tag, digest in digests.items() if (date := dates[digest]) is not None}
        undated = {tag: digest for tag, digest in digests.items() if tag not in found}
        return {**found, **await self._seen_since(repository, undated), **_dates(listed, tags)}

    async def _seen_since(self, repository: Repository, digests: Mapping[str, Digest]) -> dict[str, datetime]:
        """Return when each tag was first seen with its digest of *digests*, and record those that are new."""
        if not digests:
            return {}
        now = self.now()
        known = await self._known(repository, list(digests))
        new = {tag: (digest, now) for tag, digest in digests.items() if digest not in known.get(tag, {})}
        await self._record(repository, new)
        return {tag: known.get(tag, {}).get(digest, now) for tag, digest in digests.items()}

    def _listed(self, repository: Repository) -> dict[str, tuple[Digest, datetime]]:
        """Return the digests and credible dates of the tags in the last list of *repository*."""
        source = self._stores.source(repository)
        digests, latest = source.listed_digests(), self.now() + _CLOCK_SKEW
        return {
            tag: (digests[tag], date)
            for tag, date in source.listed_dates().items()
            if tag in digests and _OLDEST <= date <= latest
        }

    async def _known(self, repository: Repository, tags: Collection[str]) -> dict[str, dict[Digest, datetime]]:
        """Return the recorded times of *tags*, each tag read once."""
        kept = self._times.setdefault(repository, {})
        missing = [tag for tag in tags if tag not in kept]
        if missing:
            try:
                found = await self._first_seen.times(repository, missing)
            except StoreError as error:
                raise CopyFailed(error, side=None, step=_STEP) from error
            kept.update({tag: dict(found.get(tag, {})) for tag in missing})
        return {tag: dict(kept[tag]) for tag in tags if kept[tag]}

    async def _record(self, repository: Repository, new: Mapping[str, tuple[Digest, datetime]]) -> None:
        if not new:
            return
        try:
            await self._first_seen.record(repository, [Sighting(tag, *seen) for tag, seen in new.items()])
        except StoreError as error:
            raise CopyFailed(error, side=None, step=_STEP) from error
        kept = self._times.setdefault(repository, {})
        for tag, (digest, seen_at) in new.items():
            kept.setdefault(tag, {}).setdefault(digest, seen_at)

    async def _digests(self, repository: Repository, tags: Sequence[str], *, raises: bool) -> dict[str, Digest]:
        """Return the digest of each one of *tags*, by the list of tags or by a HEAD.

        Tags that cannot be resolved are left out; with *raises* only where a later attempt cannot resolve them either.
        """
        listed = self._stores.source(repository).listed_digests()
        digests = {tag: listed[tag] for tag in tags if tag in listed}
        unknown = [tag for tag in tags if tag not in digests]
        if len(unknown) > MOST_READ:
            error = TooLarge(
                f"{repository}: the dates of {len(unknown)} tags have to be read, more than {MOST_READ}",
                remedy="select fewer with include:, semver: or exclude:",
            )
            raise CopyFailed(error, side="source", step=_STEP)

        async def resolve(tag: str) -> None:
            try:
                digests[tag] = (await self._reader.resolve(repository, tag)).digest
            except CopyFailed as failure:
                if failure.is_interrupted or (raises and not failure.is_permanent):
                    raise

        await for_each(unknown, resolve, width=self._width)
        return {tag: digests[tag] for tag in tags if tag in digests}

    async def _created_at(self, repository: Repository, digest: Digest) -> datetime | None:
        """Return when the image, or the first image of the index, *digest* was created; None without credible date."""
        wanted = digest
        for _ in range(_DEEPEST):
            manifest = (await self._reader.read(repository, str(wanted))).parse()
            if isinstance(manifest, Index):
                first = _first_image(manifest.manifests)
                if first is None:
                    return None
                wanted = first.digest
            elif manifest.config is None:
                return None
            else:
                return self._credible(_created_in(await self._reader.read_config(repository, manifest.config)))
        return None

    def _credible(self, date: datetime | None) -> datetime | None:
        return date if date is not None and _OLDEST <= date <= self.now() + _CLOCK_SKEW else None


def _dates(listed: Mapping[str, tuple[Digest, datetime]], tags: Sequence[str]) -> dict[str, datetime]:
    return {tag: listed[tag][1] for tag in tags if tag in listed}


def _first_image(entries: Sequence[Descriptor]) -> Descriptor | None:
    """Return the first of *entries* that is no attestation."""
    images = (entry for entry in entries if entry.platform is None or entry.platform.os != _UNKNOWN_OS)
    return next(images, None)


def _created_in(config: bytes) -> datetime | None:
    """Return `created` of an image config; None if it has none, or is no JSON object."""
    try:
        text: object = parse_object(config, "config").get("created")
        date = datetime.fromisoformat(text) if isinstance(text, str) else None
    except (ProtocolError, TooLarge, ValueError):
        return None
    return date if date is None or date.tzinfo is not None else date.replace(tzinfo=UTC)


def _needs_state(repository: Repository) -> Refused:
    return Refused(
        f"{repository}: min_age needs a state, since the registry lists no dates: it keeps since when tags are public",
        remedy="run with a state: leave --state none out",
    )
