"""Integrity of the job plane: finding, reporting and repairing damage."""
