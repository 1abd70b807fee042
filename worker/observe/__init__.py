"""What operators see of a worker: logs, metrics, health pages."""
