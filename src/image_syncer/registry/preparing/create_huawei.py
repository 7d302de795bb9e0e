"""Creates organisations of Huawei Cloud's SWR; requests are signed as Huawei documents (SDK-HMAC-SHA256)."""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from image_syncer.registry.preparing.creation import ApiCall, Creation
from image_syncer.registry.settings import Credential
from image_syncer.structs import replace

_REGISTRY: Final = re.compile(r"swr\.(?P<place>[a-z0-9-]+\.myhuaweicloud\.(com|eu))", re.ASCII)
_SIGNED: Final = ("content-type", "host", "x-sdk-date")


def api_url(registry: str) -> str:
    """Return the URL of the API's server for *registry*; empty if its name has another form."""
    found = _REGISTRY.fullmatch(registry)
    return f"https://swr-api.{found['place']}" if found else ""


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield the request that creates the organisation; it is always private."""
    call = ApiCall("POST", "/v2/manage/namespaces", {"namespace": creation.first}, exists=(409, ""))
    if creation.credential is not None:
        host = urlsplit(creation.url).netloc
        call = replace(call, headers=signature(call, host, creation.credential, datetime.now(UTC)))
    yield call


def signature(call: ApiCall, host: str, key: Credential, now: datetime) -> Mapping[str, str]:
    """Return the headers that sign *call* to *host* with the access key *key*; a query has nothing to encode."""
    date = f"{now:%Y%m%dT%H%M%SZ}"
    values = {"content-type": "application/json", "host": host, "x-sdk-date": date}
    lines = [f"{name}:{values[name]}\n" for name in _SIGNED]
    digest = hashlib.sha256(call.content or b"").hexdigest()
    place, _, query = call.path.partition("?")
    place = "/".join(quote(unquote(part), safe="~") for part in place.split("/"))
    query = "&".join(sorted(query.split("&")))
    request = "\n".join((call.method, f"{place}/", query, "".join(lines), ";".join(_SIGNED), digest))
    text = f"SDK-HMAC-SHA256\n{date}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signed = hmac.new(key.password.encode(), text.encode(), hashlib.sha256).hexdigest()
    authorization = f"SDK-HMAC-SHA256 Access={key.username}, SignedHeaders={';'.join(_SIGNED)}, Signature={signed}"
    return {"Content-Type": "application/json", "X-Sdk-Date": date, "Authorization": authorization}
