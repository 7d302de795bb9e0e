"""What we remember: events, schedules and runs, in a SQLite file or a PostgreSQL database."""

from image_syncer.state.cache_tables import StateCacheBackend, open_archive
from image_syncer.state.copy_end import EndedCopy
from image_syncer.state.database import Database
from image_syncer.state.database_url import SqliteFile, parse_place
from image_syncer.state.errors import StateUnavailable, StateUnusable
from image_syncer.state.event import CopyEnd, Event, EventCopy, EventCounts, EventFilter, EventStatus, NewEvent
from image_syncer.state.event_log import EventLog
from image_syncer.state.fork_queue import ForkQueue, Imported, PendingImage, import_fork_queue
from image_syncer.state.migrate import MIGRATION_LOCK, refuse_foreign
from image_syncer.state.pending_copies import PendingCopies, RunPlan
from image_syncer.state.runs import ImageFilter, NewRun, RunEnd, RunLog, RunRecord, Trigger
from image_syncer.state.schedule_times import Cron, Every, Schedule
from image_syncer.state.schedules import Due, Planned, ScheduleBook
from image_syncer.state.state import State, open_state

__all__ = [
    "MIGRATION_LOCK",
    "CopyEnd",
    "Cron",
    "Database",
    "Due",
    "EndedCopy",
    "Event",
    "EventCopy",
    "EventCounts",
    "EventFilter",
    "EventLog",
    "EventStatus",
    "Every",
    "ForkQueue",
    "ImageFilter",
    "Imported",
    "NewEvent",
    "NewRun",
    "PendingCopies",
    "PendingImage",
    "Planned",
    "RunEnd",
    "RunLog",
    "RunPlan",
    "RunRecord",
    "Schedule",
    "ScheduleBook",
    "SqliteFile",
    "State",
    "StateCacheBackend",
    "StateUnavailable",
    "StateUnusable",
    "Trigger",
    "import_fork_queue",
    "open_archive",
    "open_state",
    "parse_place",
    "refuse_foreign",
]
