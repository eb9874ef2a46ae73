"""Berth's metrics: each declared once, here; the exporter, the janitor and the hub serve their part of them."""
