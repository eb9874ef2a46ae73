"""The exporter of one node's metrics: probes, attribution to leases, rendering. It has no access to the ledger."""
