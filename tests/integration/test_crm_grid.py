"""The list of leads as people arrange it: orders, parts of texts, names of a lead, numbers and known values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from leadcrm.crm import counting, looking, search, sorting
from leadcrm.crm.leads import LeadFilter, Page
from leadcrm.crm.times import parse_moment
from leadcrm.database.sessions import bind
from tests.conftest import new_database, server_starter
from tests.support.crm import keep, submission, url_of
from tests.support.crm_client import ENVIRONMENT, Crm
from tests.support.waiting import wait_until

STATUSES = ("new", "called", "won")


@pytest.fixture(scope="module", params=("sqlite", "postgres"))
def crm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crm]:
    environment = {**ENVIRONMENT, "STATUSES": "new, called, won:won"}
    for database in new_database(request.param, request, tmp_path_factory.mktemp("crm-database")):
        for start in server_starter(request.node, tmp_path_factory.mktemp("crm")):
            yield Crm(start(database, environment=environment), database)


def sent(crm: Crm, *leads: dict[str, Any]) -> list[str]:
    """Keep leads, the oldest first, and return their ids."""
    rows = [submission(json.dumps(fields).encode()) for fields in leads]
    keep(crm.database, rows)
    return [row.id for row in rows]


def walk(crm: Crm, **parameters: Any) -> list[str]:
    """Return the ids of all pages."""
    ids, cursor = [], {}
    while True:
        page = crm.get("/api/leads", **parameters, **cursor)
        ids += [lead["id"] for lead in page["leads"]]
        if page["next"] is None:
            return ids
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_every_order_has_each_lead_once_whatever_the_page(crm: Crm, limit: int) -> None:
    mark = f"order-{limit}"
    a, b, c, d, e, f = sent(crm, *({"marker": mark} for _ in range(6)))
    for id, changes in (
        (d, {"status": "won"}),
        (a, {"status": "called"}),
        (f, {"status": "odd"}),
        (b, {"callAt": "2026-05-01T10:00:00Z"}),
        (e, {"callAt": "2026-04-01T10:00:00Z"}),
        (a, {"callAt": "2026-05-01T10:00:00Z"}),
    ):
        assert crm.ask("PATCH", f"/api/leads/{id}", changes).status == 200
    expected = {
        "-arrived": [f, e, d, c, b, a],
        "arrived": [a, b, c, d, e, f],
        "-updated": [a, e, b, f, d, c],
        "updated": [c, d, f, b, e, a],
        "status": [e, c, b, a, d, f],
        "-status": [f, d, a, e, c, b],
        "callAt": [e, a, b, f, d, c],
        "-callAt": [b, a, e, f, d, c],
    }
    for sort, order in expected.items():
        assert walk(crm, marker=mark, sort=sort, limit=limit) == order, sort
    assert walk(crm, marker=mark, sort="-status", status=["won", "new"], limit=limit) == [d, e, c, b]


def test_pages_of_an_order_go_on_though_their_last_lead_moved(crm: Crm) -> None:
    ids = sent(crm, *({"marker": "moving"} for _ in range(4)))
    crm.ask("PATCH", f"/api/leads/{ids[0]}", {"status": "moved away"})
    first = crm.get("/api/leads", marker="moving", sort="-status", limit=1)
    assert [lead["id"] for lead in first["leads"]] == [ids[0]]
    crm.ask("PATCH", f"/api/leads/{ids[0]}", {"status": "won"})
    rest = walk(crm, marker="moving", sort="-status", cursor=first["next"])
    assert rest == [ids[0], *ids[:0:-1]]
    for wrong in ({"sort": "status"}, {}, {"sort": "-status", "q": "x"}, {"order": "stored", "sort": "status"}):
        query = "&".join(f"{name}={value}" for name, value in wrong.items())
        assert crm.ask("GET", f"/api/leads?cursor={first['next']}&{query}").status == 400
    assert crm.ask("GET", "/api/leads?sort=offer").status == 400


def test_parts_of_any_text_are_found_in_any_case(crm: Crm) -> None:
    gold, silver, other = sent(
        crm,
        {"marker": "parts", "offer": "Baltic GOLD", "description": "One% \u0100bols"},
        {"marker": "parts", "offer": "baltic silver", "click_id": "abc-1"},
        {"marker": "parts", "offer": "Nordic"},
    )
    assert crm.ids(marker="parts", contains="offer:balTIC") == [silver, gold]
    assert crm.ids(marker="parts", contains=["offer:gold", "offer:nord"]) == [other, gold]
    assert crm.ids(marker="parts", contains=["offer:baltic", "click_id:BC-"]) == [silver]
    assert crm.ids(marker="parts", contains="description:% \u0101BOLS") == [gold]
    assert crm.ids(marker="parts", click_id="abc-1") == [silver]
    assert crm.get("/api/leads/count", marker="parts", contains="offer:baltic")["leads"] == 2
    for wrong in ("offer", "offer:", "nothing:x", "normalizerVersion:1"):
        assert crm.ask("GET", f"/api/leads?contains={wrong}").status == 400


def test_a_search_takes_whatever_names_a_lead_and_says_how_far_it_looked(crm: Crm) -> None:
    client = crm.server.client
    key = "k\u0113y of a sender"
    answer = client.post_lead({"click_id": "Click/77", "lastName": "Named"}, key=key.encode())
    id = answer.json()["lead_id"]
    own = client.post_lead({"lastName": "Named2"}, headers=[("X-Request-Id", "trace-4711")]).json()["lead_id"]
    repeat = client.post_lead({"other": "body"}, key=key.encode())
    assert repeat.json()["lead_id"] == id
    (conflict,) = [row["id"] for row in crm.get("/api/raw", state="conflict")["rows"] if row["duplicateOf"] == id]
    for name in (id, id.upper(), "Click/77", key, str(answer.header("x-request-id")), conflict):
        assert crm.ids(q=name) == [id], name
    assert crm.ids(q="trace-4711") == [own]
    assert crm.ids(q=id, country="XX") == []
    assert crm.get("/api/leads", q="named")["searched"] == {"leads": 20_000, "from": None}
    assert "searched" not in crm.get("/api/leads")


def test_known_values_have_their_numbers_and_all_leads_are_counted(crm: Crm) -> None:
    before = crm.get("/api/leads/count")["leads"]
    sent(crm, *({"domain": domain} for domain in ("often.example", "often.example", "rare.example")))
    known = crm.get("/api/leads/values", column="domain")
    numbers = {entry["value"]: entry["leads"] for entry in known["values"]}
    assert (numbers["often.example"], numbers["rare.example"], known["from"]) == (2, 1, None)
    assert None in numbers
    assert [entry["leads"] for entry in known["values"]] == sorted(numbers.values(), reverse=True)
    # A first count may take long enough to be told again for a moment.
    wait_until(lambda: crm.get("/api/leads/count") == {"leads": before + 3, "exact": True})
    assert crm.ask("GET", "/api/leads/values?column=email").status == 400
    assert crm.ask("GET", "/api/leads/values").status == 400


def test_more_leads_than_are_counted_one_by_one_are_told_about(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MAX_COUNTED", 10)
    sent(crm, *({"marker": "about", "description": "lv" if number % 4 else "lt"} for number in range(80)))
    entities = bind(url_of(crm.database))
    since = min(lead["createdAt"] for lead in crm.get("/api/leads", marker="about", limit=500)["leads"])
    period = {"since": parse_moment(since)}
    assert counting.count_leads(entities, LeadFilter(**period)) == (80, True)
    of_marker = LeadFilter(values=(("marker", ("about",)),), **period)
    assert counting.count_leads(entities, of_marker) == (80, True)
    latvian = LeadFilter(contains=(("description", ("lv",)),), **period)
    about = counting.count_leads(entities, latvian)
    assert not about.is_exact
    assert 50 <= about.leads <= 70
    entities.database.disconnect()


def test_parts_of_texts_are_looked_for_among_so_many_leads_at_once(crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counting, search):
        monkeypatch.setattr(module, "LOOKED_THROUGH", 50)
    monkeypatch.setattr(looking, "FEW", 0)
    sent(crm, *({"marker": "looked", "ip": f"192.0.2.{'needle' if n % 70 == 3 else n}"} for n in range(184)))
    entities = bind(url_of(crm.database))
    listed = crm.get("/api/leads", marker="looked", limit=500)["leads"]
    wanted = [lead["id"] for lead in listed if lead["ip"].endswith("needle")]
    assert len(wanted) == 3
    since, until = (parse_moment(listed[place]["createdAt"]) for place in (-1, 0))
    for period in ({"since": since}, {"since": since, "until": until + timedelta(seconds=1)}):
        rest = LeadFilter(values=(("marker", ("looked",)),), **period)
        lead_filter = replace(rest, contains=(("ip", ("NEEDLE",)),))
        pages = [search.list_leads(entities, lead_filter, limit=2)]
        while pages[-1].next is not None:
            pages.append(search.list_leads(entities, lead_filter, limit=2, after=pages[-1].next))
        assert [str(lead.id) for page in pages for lead in page.leads] == wanted
        assert len(pages) == 4, "three of fifty leads, and what is left"
        reached = [page.reach for page in pages[:-1]]
        assert [reach and reach.leads for reach in reached] == [50] * 3
        assert [reach and reach.since for reach in reached] == [
            parse_moment(listed[place]["createdAt"]) for place in (49, 99, 149)
        ]
        assert pages[-1].reach is None, "all leads were looked at"
        about = counting.count_leads(entities, lead_filter)
        assert not about.is_exact
        assert about.leads == round(184 / 50)
        monkeypatch.setattr(counting, "LOOKED_THROUGH", 184)
        assert counting.count_leads(entities, lead_filter) == (3, True), "all leads were looked at"
        monkeypatch.setattr(counting, "LOOKED_THROUGH", 183)
        every = replace(rest, contains=(("ip", ("192.0.2",)),))
        assert counting.count_leads(entities, every) == (183, False), "no fewer than were found"
        monkeypatch.setattr(counting, "LOOKED_THROUGH", 50)
    entities.database.disconnect()


def test_in_every_order_a_page_looks_at_so_many_leads_and_the_next_one_goes_on(
    crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = [{"marker": "far", "click_id": f"far-{n}", "description": "needle" * (n % 11 == 5)} for n in range(50)]
    ids: list[str] = []
    # So that leads arrive before, between and after changes of others.
    for part in (far[:20], far[20:40], far[40:]):
        ids += sent(crm, *part)
        work = {"ids": ids[::3], "status": "called", "assignedTo": "far away"}
        assert crm.ask("POST", "/api/leads/bulk", work).status == 200
    for number, id in enumerate(ids[::6]):
        changes = {"status": "won", "callAt": f"2026-05-{number % 4 + 1:02}T10:00:00Z"}
        assert crm.ask("PATCH", f"/api/leads/{id}", changes).status == 200
    entities = bind(url_of(crm.database))
    first, last = (crm.get(f"/api/leads/{id}")["lead"]["createdAt"] for id in (ids[0], ids[-1]))
    period = {"since": parse_moment(first), "until": parse_moment(last) + timedelta(microseconds=1)}

    def pages(sort: str, lead_filter: LeadFilter, limit: int) -> list[Page]:
        found = [sorting.list_sorted(entities, lead_filter, sort, STATUSES, limit=limit)]
        while (after := found[-1].next) is not None:
            found.append(sorting.list_sorted(entities, lead_filter, sort, STATUSES, limit=limit, after=after))
        return found

    def listed(found: list[Page]) -> list[str]:
        return [str(lead.id) for page in found for lead in page.leads]

    for sort, lead_filter in (
        ("-arrived", LeadFilter(values=(("click_id", ("far-33", "far-3")),), **period)),
        ("arrived", LeadFilter(contains=(("marker", ("far",)), ("description", ("NEED",))), **period)),
        ("-updated", LeadFilter(contains=(("description", ("NEEDLE",)),), **period)),
        ("updated", LeadFilter(values=(("click_id", ("far-5", "far-39", "far-33", "far-27")),), **period)),
        ("status", LeadFilter(contains=(("description", ("NEEDLE",)),), **period)),
        ("-status", LeadFilter(values=(("assigned_to", ("far away",)),), **period)),
        ("callAt", LeadFilter(contains=(("description", ("NEEDLE",)),), **period)),
        ("-callAt", LeadFilter(due=parse_moment("2026-05-03T12:00:00Z"), **period)),
    ):
        whole = pages(sort, lead_filter, 500)
        assert len(whole) == 1, "one page looks at all"
        with monkeypatch.context() as patched:
            patched.setattr(looking, "LOOKED_AT_FIRST", 5)
            for module in (search, sorting):
                patched.setattr(module, "LOOKED_THROUGH", 20)
            assert listed(pages(sort, lead_filter, 12)) == listed(whole), "an index finds few leads, which are sorted"
            patched.setattr(looking, "FEW", 0)
            bounded = pages(sort, lead_filter, 4)
            assert listed(bounded) == listed(whole)
            short = [page for page in bounded[:-1] if len(page.leads) < 4]
            assert bool(short) == bool(lead_filter.contains), "a page of parts of texts ends after so many leads"
            assert {page.reach and page.reach.leads for page in short} <= {20}
    entities.database.disconnect()


def test_the_other_leads_of_the_same_persons_are_counted(crm: Crm) -> None:
    one, two, three, alone, zeros = sent(
        crm,
        {"phone": "+371 26 909 909", "email": "One@example.com"},
        {"phone": "26909909"},
        {"phone": "1", "email": "one@EXAMPLE.com"},
        {"phone": "+37129909909", "email": "", "lastName": "Same end of seven digits"},
        {"phone": "0000000", "email": "none"},
    )
    asked = crm.get("/api/leads/others", id=[one, two, three, alone, zeros])["others"]
    assert {entry["id"]: entry["leads"] for entry in asked} == {one: 2, two: 1, three: 1}
    assert crm.get("/api/leads/others") == {"others": []}
    assert crm.ask("GET", f"/api/leads/others?{'&'.join([f'id={one}'] * 201)}").status == 400
