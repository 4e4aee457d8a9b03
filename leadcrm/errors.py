"""Every condition leadcrm names, and the exit status each one means.

An error's text says what happened and to which thing; its `hint` is the operator's next step. Texts are safe
to log and to print: nobody puts a payload, a token, a password or a driver's own text into one.
"""

# ruff: noqa: N818 - named by the condition, which reads as a sentence where they are raised and caught

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a service manager can tell it from a crash and leave the service stopped."""

_DETAIL_NAMES = ("sqlstate", "constraint", "table", "column")


class LeadcrmError(Exception):
    """A condition leadcrm knows by name.

    Args:
        message: what happened, and to what.
        hint: the operator's next command or step; empty where there is none.
    """

    exit_status: int = EXIT_FAILED

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(LeadcrmError):
    """A variable has a value leadcrm cannot run with.

    Args:
        variable: its name in the environment.
        fault: what is wrong with the value; quotes no secret.
        accepted: what would be right.
    """

    exit_status = EXIT_CONFIG

    def __init__(self, variable: str, fault: str, accepted: str, *, hint: str = "") -> None:
        # A value quoted in `fault` may hold line breaks, and the operator is promised one line.
        super().__init__(" ".join(f"{variable}: {fault}; accepted: {accepted}".split()), hint=hint)
        self.variable = variable
        self.fault = fault
        self.accepted = accepted

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str, str]]:
        # Without this an error that crosses a process border is rebuilt from its one line and fails.
        return (type(self), (self.variable, self.fault, self.accepted))


class TablesFault(LeadcrmError):
    """A file of tables cannot be used.

    Args:
        where: the file.
        faults: one for each thing that is wrong, with its line; quotes no secret.
        may_pass: it, or a file that it names, could not be read, which may be over though no file changes.
    """

    exit_status = EXIT_CONFIG
    variable = ""
    command = ""

    def __init__(self, where: str, faults: Sequence[str], *, may_pass: bool = False) -> None:
        super().__init__(" ".join(f"{self.variable}: {where}: {'; '.join(faults)}".split()), hint=self.command)
        self.where = where
        self.faults = tuple(faults)
        self.may_pass = may_pass

    def __reduce__(self) -> tuple[type[TablesFault], tuple[str, tuple[str, ...]]]:
        # As for ConfigError.
        return (type(self), (self.where, self.faults))


class SourcesFault(TablesFault):
    """A text of SOURCES_FILE cannot be used."""

    variable = "SOURCES_FILE"
    command = "leadcrm sources check"


class SinksFault(TablesFault):
    """A text of SINKS_FILE cannot be used."""

    variable = "SINKS_FILE"
    command = "leadcrm sinks check"


class StoreError(LeadcrmError):
    """A database did not do what it was asked.

    Args:
        sqlstate: the five characters of the SQL standard, where the database gave them.
        detail: of it constraint, table, column and sqlstate are kept: all else a driver says may quote a
        payload.
    """

    def __init__(
        self,
        message: str = "",
        *,
        hint: str = "",
        sqlstate: str | None = None,
        detail: Mapping[str, str | None] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        given = dict(detail or {})
        if sqlstate is not None:
            given["sqlstate"] = sqlstate
        self.detail: dict[str, str] = {name: text for name in _DETAIL_NAMES if (text := given.get(name))}
        self.sqlstate: str | None = self.detail.get("sqlstate")


class StoreUnavailable(StoreError):
    """The database cannot commit now; the same rows may go through later or elsewhere.

    Args:
        public: what is waited for, in words that anyone may read.
    """

    def __init__(self, message: str = "", *, public: str = "", **given: Any) -> None:
        super().__init__(message, **given)
        self.public = public


class StoreDamaged(StoreUnavailable):
    """The database's file is damaged: trying again changes nothing."""


class SubmissionRefused(StoreError):
    """The database refuses this one row for its data; trying again changes nothing."""


class ChangeRefused(StoreError):
    """The database refuses a change of a lead: a constraint or a trigger that was added to it does not allow it."""


class TokenRefused(LeadcrmError):
    """A token cannot be made: its name has one already, or there are too many."""


class SpoolUnavailable(LeadcrmError):
    """The local spool cannot keep a row now."""


class SpoolDamaged(SpoolUnavailable):
    """The spool's file was damaged, or is gone; it was set aside and the next use begins a new one."""


class SpoolFull(SpoolUnavailable):
    """The local spool has reached its limit in bytes, or its disk the headroom."""


class DataDirInUse(LeadcrmError):
    """Another process holds the data folder in a way that excludes this one."""


class BackupFailed(LeadcrmError):
    """A backup or a restore cannot be made as asked."""


class SchemaTooNew(LeadcrmError):
    """The database was migrated by a newer leadcrm than this one."""

    exit_status = EXIT_CONFIG


class SchemaTooOld(LeadcrmError):
    """The database lacks migrations this leadcrm needs."""


class ForeignTables(LeadcrmError):
    """Tables named `leads_raw` or `leads` were made by something else and are left alone."""

    exit_status = EXIT_CONFIG


class InvalidPayload(LeadcrmError):
    """A body carries no JSON object and no form."""


class TooDeep(InvalidPayload):
    """A body is JSON that is nested too deep: no other reading of it finds a payload."""


class TooLaborious(LeadcrmError):
    """A body takes too long to be read while its sender and others wait; it can be read at leisure."""


class AddressInUse(LeadcrmError):
    """Another process listens on the address already."""
