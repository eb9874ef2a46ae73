"""The ledger: quotas, leases, queue, reservations and accounting in SQL. No rules of its own."""

from .audit import AuditEntry, AuditFilter
from .calls import Call
from .gpus import InventoryChange, SlotQuarantine
from .homes import HomeFilter, HomeSort, HomeSum
from .leases import LeaseFilter
from .ledger import Books, Ledger
from .loops import LoopRecord
from .tallies import Waits
from .usage import Only, Used

__all__ = [
    "AuditEntry",
    "AuditFilter",
    "Books",
    "Call",
    "HomeFilter",
    "HomeSort",
    "HomeSum",
    "InventoryChange",
    "LeaseFilter",
    "Ledger",
    "LoopRecord",
    "Only",
    "SlotQuarantine",
    "Used",
    "Waits",
]
