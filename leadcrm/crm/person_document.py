"""Everything kept of a person as one document, for their right of access (GDPR, article 15).

The body of a batch and the conflicts of a lead's key may be about others: of a batch only the part that is theirs is
shown, of conflicts only those that name the person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pony.orm import select

from leadcrm.crm.documents import event_document, lead_document, raw_document
from leadcrm.crm.events import lead_events
from leadcrm.crm.leads import Lead
from leadcrm.crm.person import Person
from leadcrm.crm.person_search import Found
from leadcrm.crm.queries import get_lead
from leadcrm.crm.raw import Kept, SpoolReader, read_raw
from leadcrm.crm.times import now
from leadcrm.database.entities import Entities
from leadcrm.database.sessions import session
from leadcrm.errors import InvalidPayload
from leadcrm.ingest.payload.content_coding import decode_body

NOT_SHOWN = (
    "backups; the spools of other nodes; log files, which hold ids, keys and addresses but no payload",
    "what the receivers of sinks have made of it",
    "what was delivered more than FEED_DAYS ago",
    "bodies that are encrypted, in base64 or in an image were not looked through",
)


@dataclass(frozen=True, slots=True)
class PersonDocument:
    """Reads what was found of a person. Each method opens sessions of its own, and raises `StoreUnavailable`.

    Attributes:
        max_decoded_bytes: The limit of a body once its content codings are undone.
        deliveries_of: Returns where a lead went and when, and what waits to be delivered of it.
    """

    entities: Entities
    spool: SpoolReader
    max_decoded_bytes: int
    deliveries_of: Callable[[UUID, Lead | None], list[dict[str, Any]]]

    def read(self, person: Person, found: Found) -> dict[str, Any]:
        """Return everything that was found."""
        leads = [self._lead(id) for id in sorted(found.leads)]
        repeats = {repeat["id"] for lead in leads for repeat in lead["repeats"]}
        requests = [self._request(id) for id in sorted(found.requests) if str(id) not in repeats]
        unread = len(found.unread)
        return {
            "email": person.email,
            "phone": person.phone,
            "at": now(),
            "leads": leads,
            "requests": [request for request in requests if request is not None],
            "batches": sorted(found.batches),
            "mentions": sorted(found.mentions),
            "notShown": [*NOT_SHOWN, *([f"{unread} bodies that cannot be decoded"] if unread else [])],
        }

    def _lead(self, id: UUID) -> dict[str, Any]:
        """Return a lead with its request, its history, its repeats, and where it went."""
        entities = self.entities
        with session(entities):
            lead = get_lead(entities, id)
            history = [event_document(event) for event in lead_events(entities, id)]
            repeats = list(select(r.id for r in entities.raw_lead if r.duplicate_of == id and r.state == "repeat"))
        return {
            "lead": lead and lead_document(lead),
            "request": self._request(id),
            "history": history,
            "repeats": [request for repeat in sorted(repeats) if (request := self._request(repeat)) is not None],
            "deliveries": self.deliveries_of(id, lead),
        }

    def _request(self, id: UUID) -> dict[str, Any] | None:
        """Return a raw row with its content codings undone, where they can be; None if it is gone meanwhile."""
        with session(self.entities):
            kept = read_raw(self.entities, id)
        kept = kept or self.spool.get(id)
        return None if kept is None else raw_document(self._decoded(kept))

    def _decoded(self, kept: Kept) -> Kept:
        row = kept.row
        if row.body is None:
            return kept
        try:
            body = decode_body(row.body, row.headers.get("content-encoding", ""), self.max_decoded_bytes)
        except InvalidPayload:
            return kept
        return kept._replace(row=row._replace(body=body))
