"""Transactions that join the policy and the ledger. Plain synchronous functions: call them from a worker thread."""
