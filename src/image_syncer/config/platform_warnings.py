"""Warnings about platform filters."""

from image_syncer.oci import PlatformFilter


def platform_warnings(platforms: PlatformFilter, origin: str = "") -> tuple[str, ...]:
    """Return a warning for each unknown name in *platforms*: a typing error would select no image, and fail nothing."""
    return tuple(
        f"{origin}unknown {name} in a platform filter: images for it are unlikely to exist"
        for name in platforms.unknown_names()
    )
