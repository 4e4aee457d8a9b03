"""The names of the CRM's documents, against the tables they are made of and the schemas that describe them."""

from __future__ import annotations

from leadcrm.crm.documents import LEAD_NAMES
from leadcrm.crm.leads import Lead
from leadcrm.database.entities import LEAD_COLUMNS
from leadcrm.web.crm.schemas import SCHEMAS


def test_a_lead_has_the_columns_of_its_table() -> None:
    assert Lead._fields == LEAD_COLUMNS


def test_the_schema_of_a_lead_has_the_names_of_its_document() -> None:
    assert tuple(SCHEMAS["Lead"]["properties"]) == LEAD_NAMES
