"""Logins of Huawei Cloud's SWR, which need no library: the password is derived from the access key."""

import hashlib
import hmac
import os
import re
from typing import Final

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

_REGISTRY: Final = re.compile(r"swr\.(?P<region>[a-z0-9-]+)\..*", re.ASCII)


def environment_key() -> Credential | None:
    """Return the access key HUAWEICLOUD_SDK_AK with HUAWEICLOUD_SDK_SK of the environment; None without them."""
    key, secret = os.environ.get("HUAWEICLOUD_SDK_AK", ""), os.environ.get("HUAWEICLOUD_SDK_SK", "")
    return Credential(key, secret) if key and secret else None


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return the login of an access key: *key*, or HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK of the environment.

    It is valid as long as the key. The user name has the project, by default the one that is called like the region.
    """
    key = key or environment_key()
    host = _REGISTRY.fullmatch(registry)
    project = os.environ.get("HUAWEICLOUD_SDK_PROJECT") or (host and host["region"])
    if key is None or not key.username or not key.password:
        raise Unauthorized(f"{registry}: no access key", remedy="set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK")
    if not project:
        raise Unauthorized(f"{registry}: its region is unknown", remedy="set HUAWEICLOUD_SDK_PROJECT to the project")
    password = hmac.new(key.password.encode(), key.username.encode(), hashlib.sha256).hexdigest()
    return IssuedCredential(Credential(f"{project}@{key.username}", password))
