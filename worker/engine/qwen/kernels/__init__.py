"""Triton kernels of the engine, one launch each. No module outside this package imports triton.

Each is an operation `makima::NAME` of torch, so that fake tensors count it and CUDA graphs hold it. On a CPU they run
in Triton's interpreter alone (TRITON_INTERPRET=1 before triton is imported). Eager torch is their reference.
"""
