"""Logins of Amazon ECR and ECR Public, through botocore: it finds credentials as every tool of Amazon does."""

import base64
import re
from typing import Any, Final

from botocore.config import Config
from botocore.session import Session

from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

_REGISTRY: Final = re.compile(r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\..*", re.ASCII)
PUBLIC: Final = "public.ecr.aws"
_PUBLIC_REGION: Final = "us-east-1"  # The only one that issues logins for it.


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return the login that GetAuthorizationToken gives, which is valid for 12 hours.

    *key* is an access key. A registry with a name of its own takes the region of the environment.
    """
    is_public = registry == PUBLIC
    data: Any = api_client(registry, key).get_authorization_token()["authorizationData"]
    data = data if is_public else data[0]
    user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
    return IssuedCredential(Credential(user, password), data["expiresAt"].timestamp())


def account_of(registry: str) -> str | None:
    """Return the number of the account in the name of *registry*; None for a name of another form."""
    host = _REGISTRY.fullmatch(registry)
    return host and host["account"]


def api_client(registry: str, key: Credential | None, url: str = "") -> Any:
    """Return botocore's client of the API of *registry*, at *url* if it is given. *key* is an access key."""
    host = _REGISTRY.fullmatch(registry)
    is_public = registry == PUBLIC
    session = Session()
    if key is not None:
        session.set_credentials(key.username, key.password)
    return session.create_client(
        "ecr-public" if is_public else "ecr",
        region_name=_PUBLIC_REGION if is_public else host and host["region"],
        endpoint_url=url or None,
        config=Config(
            connect_timeout=10,
            read_timeout=20,
            retries={"max_attempts": 2},
            use_fips_endpoint=True if host and host["fips"] else None,
        ),
    )
