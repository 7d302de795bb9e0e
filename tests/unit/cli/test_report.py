import json
from typing import Any

from image_syncer.cli.report import report_text
from image_syncer.roles import Way
from image_syncer.sync.result import CopyResult, Outcome, RunResult, Transferred


def read(result: RunResult) -> Any:
    """Return the parsed report."""
    return json.loads("".join(report_text(result)))


def test_the_report_has_exactly_the_documented_keys_in_their_order(ran: Any, result: Any, moved: Transferred) -> None:
    """Version 1 of the report does not change."""
    image = result("nginx:1.27", transferred=moved, seconds=2.3, way=Way.STREAM)
    document = read(ran(image, requests={"source": 9, "target": 14}))
    digest = str(image.source_digest)
    assert json.dumps(document) == json.dumps(
        {
            "version": 1,
            "started_at": "2025-01-31T12:00:00.500Z",
            "finished_at": "2025-01-31T12:00:02.810Z",
            "dry_run": False,
            "summary": {
                "copied": 1,
                "unchanged": 0,
                "skipped": 0,
                "failed": 0,
                "bytes_copied": 123,
                "bytes_mounted": 0,
                "bytes_existing": 456,
                "requests": {"source": 9, "target": 14},
                "unchecked_referrers": 0,
            },
            "images": [
                {
                    "rule": "nginx:1.27",
                    "source": "docker.io/library/nginx:1.27",
                    "source_digest": digest,
                    "target": "registry.example.com/mirror/nginx:1.27",
                    "target_digest": digest,
                    "outcome": "copied",
                    "reason": None,
                    "side": None,
                    "step": None,
                    "remedy": None,
                    "bytes": 123,
                    "seconds": 2.3,
                    "attempts": 1,
                    "way": "stream",
                    "referrers": None,
                }
            ],
        }
    )


def test_a_failure_has_its_side_step_reason_and_remedy(ran: Any, result: Any) -> None:
    """Programs can sort failures by fields."""
    failed = result(
        "a:1", Outcome.FAILED, side="target", step="push blob", reason="denied", remedy="log in", attempts=3
    )
    image = read(ran(failed))["images"][0]
    fields = {key: image[key] for key in ("outcome", "side", "step", "reason", "remedy", "source_digest", "attempts")}
    assert fields == {
        "outcome": "failed",
        "side": "target",
        "step": "push blob",
        "reason": "denied",
        "remedy": "log in",
        "source_digest": None,
        "attempts": 3,
    }


def test_the_report_of_a_run_without_images_is_complete(ran: Any) -> None:
    """Requests of a side without any are 0, not missing."""
    document = read(ran(dry_run=True))
    assert document["images"] == []
    assert document["dry_run"] is True
    assert document["summary"]["requests"] == {"source": 0, "target": 0}


def test_each_image_has_its_own_line(ran: Any, result: Any) -> None:
    """`grep` works on a report of a hundred thousand images."""
    images: list[CopyResult] = [result(f"app:{number}") for number in range(3)]
    text = "".join(report_text(ran(*images)))
    assert sum(line.startswith('    {"rule": "app:') for line in text.splitlines()) == 3
    assert len(read(ran(*images))["images"]) == 3


def test_a_report_has_no_control_characters(ran: Any, result: Any) -> None:
    """Text of a registry is escaped, so the file can be printed on a terminal."""
    text = "".join(report_text(ran(result("a:1", Outcome.FAILED, reason="\x1b[2J\u202e"))))
    assert text.isascii()
    assert "\x1b" not in text
