"""A preset's page: what to do at the sender's, and a command that sends what the sender would send."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from leadcrm.sources.catalogue import presets
from leadcrm.sources.source import Source

URL = "https://leads.example.com"
"""Stands for the server's."""

_OPENSSL_OUTPUT = {"hex": "-r | cut -d' ' -f1", "base64": "-binary | base64 -w0"}


def preset_document(name: str) -> dict[str, Any]:
    """Return a preset's page."""
    verify = presets()[name].get("verify", {})
    return _page(name, verify, f"/in/NAME{'/TOKEN' if verify.get('kind', 'token') == 'token' else ''}")


def source_page(source: Source, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the page of a source's preset, with its own URL and proof.

    Args:
        source: The source.
        own: Its table.
    """
    verify = own.get("verify", presets()[source.preset].get("verify", {}))
    return _page(source.preset, verify, path_of(source))


def path_of(source: Source) -> str:
    """Return the path of a source's URL, in which TOKEN stands for its secret."""
    needs_token = source.proof.kind == "token" and source.proof.secrets
    return f"/in/{source.name}{'/TOKEN' if needs_token else ''}"


def _page(name: str, verify: Mapping[str, Any], path: str) -> dict[str, Any]:
    preset = presets()[name]
    return {
        "preset": name,
        "title": preset.get("title", name),
        "about": " ".join(preset.get("about", "").split()),
        "url": URL + path,
        "verify": verify.get("kind", "token"),
        "secret": preset.get("secret_is", ""),
        "steps": preset.get("steps", []),
        "test": _command(preset, verify, path),
    }


def _command(preset: Mapping[str, Any], verify: Mapping[str, Any], path: str) -> str:
    """Return a shell command that sends the preset's sample, with its secret or signature."""
    if query := preset.get("sample_query"):
        return f"curl -i {quote(f'{URL}{path}?{query}')}"
    sample = preset["sample"]
    if sample[:1] not in "[{":
        fields = " ".join(f"--data-urlencode {quote(field)}" for field in sample.split("&"))
        return f"curl -i {URL}{path} {fields}"
    send = f"curl -i {URL}{path} -H 'Content-Type: application/json'"
    if verify.get("kind") != "hmac":
        return f"{send} -d {quote(sample)}"
    # The body is printed and sent from one variable, so that its bytes are the signed ones.
    stamp = "{t}" in verify["signed"] or "timestamp" in verify
    signed = verify["signed"].replace("{t}", "$T").replace("{timestamp}", "$T")
    signed = signed.replace("{body}", "$B").replace("{method}", "POST").replace("{url}", URL + path)
    prefix = verify.get("prefix", "")
    signature = f"t=$T,{prefix}$S" if "{t}" in verify["signed"] else f"{prefix}$S"
    headers = f'-H "{verify["header"]}: {signature}"'
    if "timestamp" in verify:
        headers += f' -H "{verify["timestamp"].removeprefix("header:")}: $T"'
    seconds = "T=$(date +%s); " if stamp else ""
    output = _OPENSSL_OUTPUT[verify.get("encoding", "hex")]
    return (
        f"B={quote(sample)}; {seconds}"
        f'S=$(printf %s "{signed}" | openssl dgst -sha256 -hmac SECRET {output}); '
        f'{send} {headers} -d "$B"'
    )
