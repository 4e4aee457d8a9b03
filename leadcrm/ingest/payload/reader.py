"""From a request's body to a payload: which of its forms a body has, and reading it.

Owns the decision only; the forms are read in `json` and `form`, codings undone in
`content_coding`. Whatever a body holds, the outcome is a payload or InvalidPayload, within a bound of memory
and of time. The received bytes are never changed: keeping them is the caller's business and comes first.
"""

from codecs import BOM_UTF8

from leadcrm.ingest.payload.content_coding import decode_body
from leadcrm.ingest.payload.form import read_multipart, read_urlencoded
from leadcrm.ingest.payload.json import read_json

_JSON_BLANKS = b" \t\n\r"


def read_payload(body: bytes, *, content_type: str, content_encoding: str, max_decoded_bytes: int) -> dict[str, object]:
    """Return the payload in a request's body.

    Args:
        body: The bytes as received.
        content_type: The header's value, empty if there was none. A JSON object is read whatever it says.
        content_encoding: The header's value, empty if there was none.
        max_decoded_bytes: How long the body may be once its content codings are undone.

    Returns:
        The payload's members. The fields of a lead are str, bool or None; a number, an object or an array has
        become its JSON text, as the sender wrote it. Members that are no field of a lead may be left out.

    Raises:
        InvalidPayload: No JSON object and no form can be read from the body.
    """
    if content_encoding:
        body = decode_body(body, content_encoding, max_decoded_bytes)
    media_type = content_type.partition(";")[0].strip().lower()
    # `curl -d '{…}'` and many HTTP libraries send JSON under a form's type. An unencoded bracket begins no
    # form.
    if media_type == "application/x-www-form-urlencoded" and not _begins_as_json(body):
        return read_urlencoded(body, content_type)
    if media_type == "multipart/form-data" and not _begins_as_json(body):
        return read_multipart(body, content_type)
    return read_json(body)


def _begins_as_json(body: bytes) -> bool:
    return body.removeprefix(BOM_UTF8).lstrip(_JSON_BLANKS)[:1] in (b"{", b"[")
