"""Observability: logs, metrics, health pages."""
