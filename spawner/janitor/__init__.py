"""Timed loops: what exists against what is leased, leases that end, offers, idle GPUs, shares that are overrun."""
