"""Reader for docker-registry's access log."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

from image_syncer.testing.request_log import Request, RequestLog

# Apache's combined format, written by docker-registry after each response.
_ACCESS = re.compile(
    r'\S+ \S+ .*? \[[^\]]+\] "(?P<method>[A-Z]+) (?P<uri>\S+) HTTP/[0-9.]+" (?P<status>\d+) (?P<out>\d+)'
)


def parse_access_log(lines: Iterable[str]) -> RequestLog:
    """Return the requests of an access log; other lines are skipped.

    For a HEAD the log has the size of the omitted body; it counts as 0.
    """
    log = RequestLog()
    for line in lines:
        if match := _ACCESS.match(line):
            uri = urlsplit(match["uri"])
            query = tuple(parse_qsl(uri.query, keep_blank_values=True))
            bytes_out = 0 if match["method"] == "HEAD" else int(match["out"])
            log.append(Request(match["method"], uri.path, query, int(match["status"]), 0, bytes_out))
    return log
