"""Creates namespaces and repositories of Alibaba Cloud, personal and enterprise, through its libraries."""

from collections.abc import Callable
from functools import partial

from image_syncer.errors import Refused
from image_syncer.registry.auth.cloud_aliyun import Api, parts_of
from image_syncer.registry.preparing.creation import Creation, says_exists

_PERSONAL, _ENTERPRISE = "2016-06-07", "2018-12-01"


def create(creation: Creation) -> bool:
    """Create the namespace and the repository in it; False if both exist."""
    parts = parts_of(creation.registry)
    if parts is None:
        raise Refused(f"{creation.registry}: not the name of a registry of Alibaba Cloud")
    region, instance = parts
    api = Api(region, creation.credential, creation.url)
    kind = "PUBLIC" if creation.settings.public else "PRIVATE"
    if not instance:
        if creation.settings.immutable:
            raise Refused(f"{creation.registry}: the personal edition has no immutable tags")
        namespace = {"Namespace": {"Namespace": creation.first}}
        repository = {
            "RepoNamespace": creation.first,
            "RepoName": creation.rest,
            "RepoType": kind,
            "Summary": creation.rest[:100],
        }
        made = _is_new(partial(api.call, "CreateNamespace", _PERSONAL, "/namespace", namespace))
        return _is_new(partial(api.call, "CreateRepo", _PERSONAL, "/repos", {"Repo": repository})) or made
    identity = api.instance_id(creation.registry, instance)
    call = partial(api.call, "CreateNamespace", _ENTERPRISE, InstanceId=identity, NamespaceName=creation.first)
    made = _is_new(partial(call, AutoCreateRepo="true", DefaultRepoType=kind))
    call = partial(api.call, "CreateRepository", _ENTERPRISE, InstanceId=identity, RepoNamespaceName=creation.first)
    immutable = "true" if creation.settings.immutable else "false"
    call = partial(call, RepoName=creation.rest, RepoType=kind, Summary=creation.rest[:100], TagImmutability=immutable)
    return _is_new(call) or made


def _is_new(call: Callable[[], dict[str, object]]) -> bool:
    """Make *call*; False if what it creates exists."""
    try:
        answer = call()
    except Exception as error:
        if says_exists(str(getattr(error, "code", ""))):
            return False
        raise
    code = answer.get("Code")
    if answer.get("IsSuccess") in {False, "false"} and isinstance(code, str):
        if says_exists(code):
            return False
        raise Refused(f"the API of Alibaba Cloud answers {code}")
    return True
