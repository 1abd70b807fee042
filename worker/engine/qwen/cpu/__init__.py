"""The small operations of a layer on a CPU, compiled by numba, which qwen-tts brings: one call each instead of many.

A frame of the 0.6B model has about 1,900 small operations, and torch takes some microseconds for each. Loops are
compiled when they are first needed, and kept in numba's cache. Eager torch is their reference. Nothing here is imported
before an engine needs it.
"""
