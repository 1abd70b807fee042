"""Judges of speech: what a recogniser understands, how natural it sounds, who speaks, and faults in the samples.

The judges are models that come inside packages (the extra `quality`) and use no network. `samples`, `text` and
`picture` need numpy alone.
"""
