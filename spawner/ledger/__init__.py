"""The ledger: quotas, leases, queue, reservations and accounting in SQL. No rules of its own."""

from .audit import AuditEntry
from .calls import Call
from .gpus import InventoryChange, SlotQuarantine
from .homes import HomeFilter, HomeSort, HomeSum
from .ledger import Books, Ledger
from .loops import LoopRecord
from .tallies import Waits

__all__ = [
    "AuditEntry",
    "Books",
    "Call",
    "HomeFilter",
    "HomeSort",
    "HomeSum",
    "InventoryChange",
    "Ledger",
    "LoopRecord",
    "SlotQuarantine",
    "Waits",
]
