"""The measurements of a GPU: `python -m benchmarks.gpu --help`."""
