"""Breaks everything a worker depends on, and holds what every session heard against the contract.

`python -m tests.chaos --help`; docs/reliability.md says what is promised and how it is shown here.
"""
