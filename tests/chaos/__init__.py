"""Breaks everything that a worker depends on, and checks what every session received against the contract.

`python -m tests.chaos --help`; docs/reliability.md says what is promised and how it is shown here.
"""
