"""The state: events, schedules, runs and caches in a SQLite file or a PostgreSQL database.

Its parts are imported at their first use: a one-shot run needs only the caches, which need no SQLAlchemy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from image_syncer.state.cache_tables import StateCacheBackend, open_cache_backend
    from image_syncer.state.database import Database
    from image_syncer.state.database_url import SqliteFile, parse_database_url
    from image_syncer.state.errors import StateUnavailable, StateUnusable
    from image_syncer.state.event import CopyEnd, Event, EventCopy, EventCounts, EventFilter, EventStatus, NewEvent
    from image_syncer.state.event_log import EventLog
    from image_syncer.state.fork_queue import ForkQueue, Imported, PendingImage, import_fork_queue
    from image_syncer.state.migrate import MIGRATION_LOCK
    from image_syncer.state.pending_copies import PendingCopies, RunPlan
    from image_syncer.state.runs import ImageFilter, NewRun, RunEnd, RunHistory, RunRecord, Trigger
    from image_syncer.state.schedule_times import CronSchedule, IntervalSchedule, Schedule
    from image_syncer.state.schedules import DueSchedule, ScheduleBook, ScheduleRecord
    from image_syncer.state.sqlite_file import refuse_foreign, warn_if_readable
    from image_syncer.state.state import EndedCopy, State, open_state

__all__ = [
    "MIGRATION_LOCK",
    "CopyEnd",
    "CronSchedule",
    "Database",
    "DueSchedule",
    "EndedCopy",
    "Event",
    "EventCopy",
    "EventCounts",
    "EventFilter",
    "EventLog",
    "EventStatus",
    "ForkQueue",
    "ImageFilter",
    "Imported",
    "IntervalSchedule",
    "NewEvent",
    "NewRun",
    "PendingCopies",
    "PendingImage",
    "RunEnd",
    "RunHistory",
    "RunPlan",
    "RunRecord",
    "Schedule",
    "ScheduleBook",
    "ScheduleRecord",
    "SqliteFile",
    "State",
    "StateCacheBackend",
    "StateUnavailable",
    "StateUnusable",
    "Trigger",
    "import_fork_queue",
    "open_cache_backend",
    "open_state",
    "parse_database_url",
    "refuse_foreign",
    "warn_if_readable",
]

_MODULES: Final = {
    "CopyEnd": "event",
    "CronSchedule": "schedule_times",
    "Database": "database",
    "DueSchedule": "schedules",
    "EndedCopy": "state",
    "Event": "event",
    "EventCopy": "event",
    "EventCounts": "event",
    "EventFilter": "event",
    "EventLog": "event_log",
    "EventStatus": "event",
    "ForkQueue": "fork_queue",
    "ImageFilter": "runs",
    "Imported": "fork_queue",
    "IntervalSchedule": "schedule_times",
    "MIGRATION_LOCK": "migrate",
    "NewEvent": "event",
    "NewRun": "runs",
    "PendingCopies": "pending_copies",
    "PendingImage": "fork_queue",
    "RunEnd": "runs",
    "RunHistory": "runs",
    "RunPlan": "pending_copies",
    "RunRecord": "runs",
    "Schedule": "schedule_times",
    "ScheduleBook": "schedules",
    "ScheduleRecord": "schedules",
    "SqliteFile": "database_url",
    "State": "state",
    "StateCacheBackend": "cache_tables",
    "StateUnavailable": "errors",
    "StateUnusable": "errors",
    "Trigger": "runs",
    "import_fork_queue": "fork_queue",
    "open_cache_backend": "cache_tables",
    "open_state": "state",
    "parse_database_url": "database_url",
    "refuse_foreign": "sqlite_file",
    "warn_if_readable": "sqlite_file",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import the part that defines *name*."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
