"""The list of repositories, at every kind of store."""

from image_syncer.errors import CatalogueClosed
from image_syncer.testing.images import single
from support.places import Place


async def listed(place: Place) -> list[str] | str:
    """Return the repositories of *place* in their order, each once; "closed" if the registry does not list any."""
    catalogue = await place.stores.catalogue(place.repository())
    assert await place.stores.catalogue(place.repository("other")) is catalogue
    try:
        pages = [page async for page in catalogue.repositories()]
    except CatalogueClosed:
        return "closed"
    found = {repository for page in pages for repository in page}
    assert {repository.registry for repository in found} == {place.registry}
    return sorted(repository.path for repository in found if repository.path.startswith(place.prefix))


async def test_the_repositories_of_a_registry_are_listed(place: Place) -> None:
    """All pages of them; a registry without such a list says so."""
    paths = ["a", "b/c", "b/d", "e", "f"]
    for path in paths:
        await place.push(single("image"), "v1", path=path)
    expected = [f"{place.prefix}/{path}" for path in paths] if place.profile.catalog else "closed"
    assert await listed(place) == expected
