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


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return the login of an access key: *key*, or HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK of the environment.

    It is valid as long as the key. The user name has the project, by default the one that is called like the region.
    """
    access_key = key.username if key else os.environ.get("HUAWEICLOUD_SDK_AK", "")
    secret = key.password if key else os.environ.get("HUAWEICLOUD_SDK_SK", "")
    host = _REGISTRY.fullmatch(registry)
    project = os.environ.get("HUAWEICLOUD_SDK_PROJECT") or (host and host["region"])
    if not access_key or not secret:
        raise Unauthorized(f"{registry}: no access key", remedy="set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK")
    if not project:
        raise Unauthorized(f"{registry}: its region is unknown", remedy="set HUAWEICLOUD_SDK_PROJECT to the project")
    password = hmac.new(secret.encode(), access_key.encode(), hashlib.sha256).hexdigest()
    return IssuedCredential(Credential(f"{project}@{access_key}", password))
