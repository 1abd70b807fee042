"""Malformed input for everything that parses what comes from outside."""
