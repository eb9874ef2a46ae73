"""Berth: every user a berth of their own, an isolated TensorFlow container with quotas and metrics."""
