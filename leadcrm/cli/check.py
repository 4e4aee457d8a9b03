"""Check whether a server with this configuration would keep leads: one line each, and what to do where it fails.

Prints the configuration (secrets redacted), connects, writes and syncs in database and spool, and checks disk, clock,
and the files of sources and sinks. No stored row changes. Exit status 1 if anything failed.

examples:
  leadcrm check
  leadcrm check --json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from leadcrm.cli import configuration
from leadcrm.configuration.config import Config
from leadcrm.delivery.definition import read_sinks, unsigned_of
from leadcrm.errors import EXIT_DONE, EXIT_FAILED, SinksFault
from leadcrm.operations.checks import Check, list_settings, run_checks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    configuration.add_flags(parser, are_listed=True)


def run(arguments: argparse.Namespace, environ: Mapping[str, str], directory: Path) -> int:
    """Run the checks and print their results."""
    config = configuration.read(arguments, environ, directory)
    settings = list_settings(config)
    checks = [*run_checks(config), *_check_sinks(config)]
    if arguments.json:
        configured = {one.variable: {"value": one.value, "source": one.source} for one in settings}
        results = [{"name": one.name, "ok": one.ok, "text": one.text, "hint": one.hint} for one in checks]
        print(json.dumps({"configuration": configured, "checks": results}))
    else:
        for setting in settings:
            print(f"        {setting.variable:<20}{setting.value}  ({setting.source})")
        for check in checks:
            print(_line(check))
    return EXIT_DONE if all(check.ok for check in checks) else EXIT_FAILED


def _check_sinks(config: Config) -> Iterator[Check]:
    if config.sinks_file is None:
        return
    try:
        sinks = read_sinks(config.sinks_file.absolute())
    except SinksFault as fault:
        yield Check("sinks", False, str(fault), fault.hint)
        return
    yield Check("sinks", True, f"{len(sinks)} sinks can be used")
    if names := ", ".join(unsigned_of(sinks)):
        text = f"receivers of {names} cannot tell who sends: nothing is signed"
        yield Check("sinks", True, text, "give each a secret, or a secret_file", is_warning=True)


def _line(check: Check) -> str:
    hint = f"\n        to do: {check.hint}" if check.hint and (check.is_warning or not check.ok) else ""
    verdict = "WARNING" if check.is_warning else "ok" if check.ok else "FAILED"
    return f"{verdict:<8}{check.name:<20}{check.text}{hint}"
