"""Bounds how much longer a lead may be than the compressed body that it came in.

A few bytes of gzip hold a megabyte. The raw row keeps those bytes, and a person can always decode them. The lead's
columns, which every page, search and export carries, take no more than their sender paid for.
"""

from leadcrm.database.entities import FIELDS

MAX_DECODED_VALUE = 65_536
"""The longest value of a compressed body, in characters: far more than people write."""

MAX_RATIO = 100
_FREE_CHARACTERS = 32_768
"""Text compresses to a tenth, and a form full of blanks to a fiftieth. Short ones are not worth a thought."""

CUT_VALUE = 1_024
"""The longest value of a lead that is too long for its body, in characters."""

Values = tuple["str | None", ...]


def are_blown_up(characters: int, received_bytes: int) -> bool:
    """Say whether leads are longer than what their request's bytes pay for."""
    return characters > max(_FREE_CHARACTERS, MAX_RATIO * received_bytes)


def within_ratio(values: Values, body_bytes: int) -> tuple[Values, str | None]:
    """Return the values of a compressed body, cut where they are too long, and why they were cut, if any was."""
    total = sum(len(value) for value in values if value)
    is_blown_up = are_blown_up(total, body_bytes)
    longest = CUT_VALUE if is_blown_up else MAX_DECODED_VALUE
    cut = [name for name, value in zip(FIELDS, values, strict=True) if value and len(value) > longest]
    if not cut:
        return values, None
    why = f"the body is compressed to less than 1/{MAX_RATIO}" if is_blown_up else "the body is compressed"
    shortened = tuple(value and value[:longest] for value in values)
    return shortened, f"cut to {longest} characters, since {why}: {', '.join(cut)}; the raw body has all"
