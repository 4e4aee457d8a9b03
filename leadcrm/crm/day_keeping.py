"""Keeps the counts of past days in the database, and true: `DayKeeper`, a little at a time."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from time import monotonic

from pony.orm import select

from leadcrm.crm.counted_days import CLOCKS, DAY, DayRecord, changed_days, count_day, midnight, right_until
from leadcrm.crm.times import now
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session, upkeep_session
from leadcrm.errors import StoreError
from leadcrm.feed.horizon import Horizon

MAX_DAYS = 4_000
"""Days before today of which counts are kept: more than are ever counted at once."""

WORK_S = 0.1
"""How long one look counts days, of which each takes some ten milliseconds."""

COMPARE_S = 6 * 3_600.0
"""How often each row is compared with its leads, which may have changed past this program."""

EVENTS_BEHIND = 1_000
"""Events that readers may have to look through, where none of them changes a day."""


HICCUP_S = 3.0
"""How long a day that failed once is left: people are told when it fails again, for the first may be the database's."""

FAULT_PAUSE = timedelta(hours=1)
"""How long such a day stays uncounted before it is tried again, by whoever keeps the days."""

logger = logging.getLogger("leadcrm.crm.day_keeping")


class DayKeeper:
    """What one process keeps; several may, each for itself."""

    def __init__(self) -> None:
        """Start without knowing anything."""
        self._horizon = Horizon()
        self._compared: dict[date, float] = {}
        self._failed_at: dict[date, float] = {}
        self._faults: dict[date, str] = {}

    def keep(self, entities: Entities) -> bool:
        """Drop the days that have changed, and count some that lack or were compared long ago. Opens its own sessions.

        A day that cannot be counted is passed by. The next look tells people of it.

        Returns:
            Whether days still lack that can be counted.

        Raises:
            StoreUnavailable: The database cannot be read or changed now.
        """
        settled = self._horizon.advance(entities)
        if not self._go_on(entities, settled):
            return True
        if self._faults:
            self._tell(entities)
        # A node whose clock is behind would take the day's events for those of its own day, and pass them by.
        end = midnight(now() - CLOCKS)
        with session(entities):
            begin = _first_day(entities, end)
            lacking = self._lacking(entities, begin, end)
            has_outlived = select(fault for fault in entities.day_fault if fault.day < begin.date()).exists()
        if has_outlived:
            with upkeep_session(entities):
                select(fault for fault in entities.day_fault if fault.day < begin.date()).delete(bulk=True)
        ends_at = monotonic() + WORK_S
        due = [day for day, at in self._compared.items() if at < monotonic() - COMPARE_S and day not in lacking]
        counted: dict[date, DayRecord] = {}
        for day in lacking or sorted(due, key=self._compared.__getitem__):
            try:
                with session(entities):
                    counted[day] = count_day(entities, day)
            except Exception as error:
                self._pass_by(day, error)
                # What it took may leave no time for others.
                break
            if monotonic() > ends_at:
                break
        if counted:
            self._write(entities, settled, counted)
        return len(lacking) > len(counted)

    def _go_on(self, entities: Entities, settled: int) -> bool:
        """Go on to what is settled, without the days that have changed until then; False where others went on."""
        with session(entities):
            seq = right_until(entities)
            changed = changed_days(entities, seq, settled)
        if settled <= seq or (changed == set() and settled - seq < EVENTS_BEHIND):
            return settled >= seq
        with upkeep_session(entities):
            until = entities.days_until.get_for_update(id=1)
            if until.seq != seq:
                return False
            gone = select(row for row in entities.counted_day)
            if changed is not None:
                gone = gone.where(lambda row: row.day in changed)
            gone.delete(bulk=True)
            until.seq = settled
        return True

    def _pass_by(self, day: date, error: Exception) -> None:
        self._compared.pop(day, None)
        if day in self._failed_at:
            # The texts of other errors may quote leads.
            self._faults[day] = str(error) if isinstance(error, StoreError) else type(error).__name__
        self._failed_at[day] = monotonic()

    def _tell(self, entities: Entities) -> None:
        """Tell people of the days that could not be counted, in the log and in the database."""
        with upkeep_session(entities):
            for day, error in self._faults.items():
                row = entities.day_fault.get_for_update(day=day)
                if row is None:
                    entities.day_fault(day=day, at=now(), error=error)
                else:
                    row.set(at=now(), error=error)
        for day, error in self._faults.items():
            text = "the leads of %s cannot be counted ahead, and whoever counts them waits: %s"
            logger.warning(text, day, error, extra={"action": "count"})
        self._faults.clear()

    def _lacking(self, entities: Entities, begin: datetime, end: datetime) -> list[date]:
        """Return the days to count that are not kept, the newest first. The caller holds the session."""
        kept = set(select(row.day for row in entities.counted_day))
        for day in kept:
            self._compared.setdefault(day, monotonic())
        recently = now() - FAULT_PAUSE
        passed_by = set(select(fault.day for fault in entities.day_fault if fault.at > recently))
        passed_by.update(day for day, at in self._failed_at.items() if at > monotonic() - HICCUP_S)
        # Rows of an earlier version are due.
        half = select(row.day for row in entities.counted_day if row.columns is not None and row.touches is None)
        self._compared.update((day, -COMPARE_S) for day in half if day not in passed_by)
        days = [(end - number * DAY).date() for number in range(1, (end - begin).days + 1)]
        lacking = [day for day in days if day not in kept and day not in passed_by]
        return sorted(lacking, key=self._failed_at.__contains__)

    def _write(self, entities: Entities, settled: int, counted: dict[date, DayRecord]) -> None:
        with upkeep_session(entities):
            # Others may have gone on meanwhile, past changes that these counts lack.
            if entities.days_until.get_for_update(id=1).seq > settled:
                return
            for day, record in counted.items():
                row = entities.counted_day.get_for_update(day=day)
                attributes = record.attributes()
                if row is None:
                    entities.counted_day(day=day, **attributes)
                elif any(getattr(row, name) != value for name, value in attributes.items()):
                    row.set(**attributes)
            days = list(counted)
            select(fault for fault in entities.day_fault if fault.day in days).delete(bulk=True)
        for day in counted:
            self._failed_at.pop(day, None)
        self._compared.update(dict.fromkeys(counted, monotonic()))


def _first_day(entities: Entities, end: datetime) -> datetime:
    """Return the first day to count, `end` where there is none. The caller holds the session."""
    oldest: datetime | None = select(min(lead.created_at) for lead in entities.lead).first()
    return end if oldest is None or oldest >= end else max(midnight(oldest), end - MAX_DAYS * DAY)
