"""Checksums of click ids tell surely where none is, however they lie beside each other."""

from __future__ import annotations

import random

from leadcrm.crm.click_ids import CHARS, ids_in, may_have, pack_click_ids


def test_every_click_id_is_found_and_hardly_any_other() -> None:
    chance = random.Random(3)
    # Of few bytes, so that checksums share many of them across their borders.
    click_ids = [f"click-{chance.randrange(10**9)}" for _ in range(20_000)]
    packed = pack_click_ids([*click_ids, click_ids[0]])
    assert ids_in(packed) == len(set(click_ids))
    assert not may_have(packed, ("",))
    assert may_have(pack_click_ids(["a", None]), ("",))
    assert all(may_have(packed, (click_id,)) for click_id in click_ids[:500])
    others = [f"other-{number}" for number in range(500)]
    assert sum(may_have(packed, (other,)) for other in others) <= 1
    assert may_have(packed, (others[0], click_ids[7]))


def test_a_checksum_counts_at_its_own_place_alone() -> None:
    packed = pack_click_ids(["a", "b"])
    shifted = packed[-1:] + packed[:-1]
    assert not may_have(shifted, ("a",))
    assert not may_have(b"", ("a",))


def test_the_beginning_of_a_long_click_id_counts() -> None:
    packed = pack_click_ids(["x" * CHARS])
    assert may_have(packed, ("x" * (CHARS + 5),))
    assert may_have(pack_click_ids(["\ud800"]), ("\ud800",))
