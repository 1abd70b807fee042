"""Tests of the judges and of what they are used for."""
