"""Signatures of webhooks, as the official library of Standard Webhooks for JavaScript verifies them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from leadcrm.delivery.definition import parse_sinks
from leadcrm.delivery.message import make_message
from leadcrm.delivery.people import example_event

ROOT = Path(__file__).parents[2]

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"]

VERIFY = """
import { Webhook } from "standardwebhooks";
const [secrets, body, headers] = JSON.parse(process.argv[1]);
for (const secret of secrets) console.log(new Webhook(secret).verify(body, headers).lead.firstName);
try { new Webhook(secrets[0]).verify(`${body} `, headers); } catch (error) { console.log(error.message); }
"""


def test_the_library_for_javascript_verifies_what_is_sent_with_either_of_two_secrets() -> None:
    install = "source scripts/venv && source scripts/biome && ensure_biome"
    subprocess.run(["bash", "-euc", install], cwd=ROOT, check=True)
    (sink,) = parse_sinks(f"[sink.a]\nurl = 'https://a.example/'\nsecret = {SECRETS}", Path("/sinks.toml")).values()
    event: Any = example_event()
    message = make_message(sink, event._replace(lead=event.lead._replace(first_name="Ānna 😀")))
    given = json.dumps([SECRETS, message.body.decode(), message.headers])
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", VERIFY, "--", given],
        cwd=ROOT / "tests/studio",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["Ānna 😀", "Ānna 😀", "No matching signature found"], done.stderr
