"""A pull quota like Docker Hub's: GET of a manifest counts, HEAD does not."""

import time
from collections.abc import Mapping

from aiohttp import web

from image_syncer.testing.fake.answers import RegistryError
from image_syncer.testing.profile import QuotaProfile


class PullQuota:
    """Counts pulls by account (None: anonymous) in windows that begin with the first pull."""

    def __init__(self, quota: QuotaProfile) -> None:
        self._quota = quota
        self._windows: dict[str | None, tuple[float, int]] = {}

    def admit(self, request: web.Request, account: str | None) -> Mapping[str, str]:
        """Count *request* for a manifest and return the headers for its response; refuse it if the quota is used up."""
        began, used = self._window(account)
        counted = request.method == "GET"
        if counted and used >= self._quota.pulls:
            headers = dict(self._headers(request, account, used))
            if self._quota.retry_after:
                headers["Retry-After"] = str(max(1, round(began + self._quota.window_seconds - time.monotonic())))
            raise RegistryError(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", headers)
        self._windows[account] = began, used + counted
        return self._headers(request, account, used + counted)

    def turn(self) -> None:
        """Start a new window for every account."""
        self._windows.clear()

    def _window(self, account: str | None) -> tuple[float, int]:
        now = time.monotonic()
        began, used = self._windows.get(account, (now, 0))
        return (began, used) if now < began + self._quota.window_seconds else (now, 0)

    def _headers(self, request: web.Request, account: str | None, used: int) -> Mapping[str, str]:
        window = f"w={self._quota.window_seconds}"
        return {
            "ratelimit-limit": f"{self._quota.pulls};{window}",
            "ratelimit-remaining": f"{max(0, self._quota.pulls - used)};{window}",
            "docker-ratelimit-source": account or request.remote or "",
        }
