"""The console: web pages and the REST API v1, a managed service of the hub. ``python -m spawner.console`` runs it."""
