"""Damage in the job plane: found, named, reported and repaired."""
