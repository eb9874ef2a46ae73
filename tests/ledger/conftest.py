from ..support.ledgers import ledger, place

__all__ = ["ledger", "place"]
