"""Says what a push would create at a registry, and whether the means for that are there. Nothing is created."""

from importlib.util import find_spec

from image_syncer.errors import StoreError
from image_syncer.extras import install_remedy
from image_syncer.oci import Repository
from image_syncer.registry.auth.cloud_providers import CLOUDS
from image_syncer.registry.checks.check_values import CheckStep, failed_step
from image_syncer.registry.preparing.preparations import Preparations
from image_syncer.structs import replace


async def create_step(preparations: Preparations, target: Repository) -> CheckStep | None:
    """Return what a push to *target* needs and who creates it; None if a push creates all of it itself."""
    try:
        needed = await preparations.needed(target)
    except StoreError as error:
        return failed_step("create", error)
    if needed is None:
        return None
    settings, preparation, call = needed
    if settings is None or preparation.creator is None:
        text = f"the {preparation.subject} must exist before the first push"
        return CheckStep(
            "create", "note", text, f"create it: {call}, or set create: true" if preparation.creator else call
        )
    unknown = sorted(settings.options - set(preparation.options))
    if unknown:
        return CheckStep("create", "failed", f"{unknown[0]} is no setting of this vendor", "leave it out of create:")
    cloud = next((cloud for name, cloud in CLOUDS.items() if name == preparation.creator), None)
    if cloud is not None and not _is_installed(cloud.module):
        remedy = install_remedy(preparation.creator)
        return CheckStep("create", "failed", "the library of the vendor is not installed", remedy)
    verb = "checks that it exists" if preparation.creator == "gitlab" else "creates it if it is missing"
    return CheckStep("create", "ok", f"the {preparation.subject} must exist: a push {verb}")


def after_creation(push: CheckStep, create: CheckStep | None) -> CheckStep:
    """Return the step *push*; what it lacks is no failure if a push of an image would create that."""
    is_missing = push.status == "failed" and create is not None and create.status == "ok"
    if not is_missing:
        return push
    return replace(push, status="warning", text=f"not possible before something is created: {push.text}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # Its parent is missing.
        return False
