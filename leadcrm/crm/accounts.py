"""The account of what people do with whole persons' data from the command line."""

from __future__ import annotations

import logging

logger = logging.getLogger("leadcrm.crm.accounts")


def keep_account(deed: str, actor: str, rows: int) -> None:
    """Keep who did what with how many raw rows: the one place for it, beside the traces in the rows themselves."""
    logger.info("%s, %d raw rows", deed, rows, extra={"action": deed, "actor": actor, "rows": rows})
