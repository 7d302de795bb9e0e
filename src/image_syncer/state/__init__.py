"""The state: events, schedules, runs and caches in a SQLite file or a PostgreSQL database."""

from image_syncer.state.cache_tables import StateCacheBackend, open_cache_backend
from image_syncer.state.database import Database
from image_syncer.state.database_url import SqliteFile, parse_database_url
from image_syncer.state.errors import StateUnavailable, StateUnusable
from image_syncer.state.event import CopyEnd, Event, EventCopy, EventCounts, EventFilter, EventStatus, NewEvent
from image_syncer.state.event_log import EventLog
from image_syncer.state.fork_queue import ForkQueue, Imported, PendingImage, import_fork_queue
from image_syncer.state.migrate import MIGRATION_LOCK, refuse_foreign, warn_if_readable
from image_syncer.state.pending_copies import PendingCopies, RunPlan
from image_syncer.state.runs import ImageFilter, NewRun, RunEnd, RunHistory, RunRecord, Trigger
from image_syncer.state.schedule_times import CronSchedule, IntervalSchedule, Schedule
from image_syncer.state.schedules import DueSchedule, ScheduleBook, ScheduleRecord
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
