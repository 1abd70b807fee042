"""What every kernel needs: registration with torch, the dtype that it computes in, and block sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_LIBRARY = torch.library.Library("makima", "FRAGMENT")  # torch.library.custom_op would import torch's compiler: seconds


def operation(fake: Callable[..., Any], mutates: Iterable[str] = ()) -> Callable[[Callable[..., Any]], Any]:
    """Register a function that launches a kernel as the operation `makima::NAME`, and return that operation.

    fake: its result for tensors without numbers, of the same arguments. mutates: the arguments that it writes; it may
    return none of its arguments.
    """

    def register(launch: Callable[..., Any]) -> Any:
        name = launch.__name__
        _LIBRARY.define(name + torch.library.infer_schema(launch, mutates_args=tuple(mutates)))
        _LIBRARY.impl(name, launch, "CompositeExplicitAutograd")
        torch.library.register_fake(f"makima::{name}", fake, lib=_LIBRARY)
        return getattr(torch.ops.makima, name)

    return register


def on(tensor: Tensor) -> Any:
    """A context in which Triton launches on the tensor's device: it launches on the current one."""
    return torch.cuda.device_of(tensor)


def wide(tensor: Tensor) -> Any:
    """The dtype to compute in: float64 for float64, else float32."""
    return tl.float64 if tensor.dtype == torch.float64 else tl.float32


def block(n: int, most: int | None = None) -> int:
    """The least power of two that holds n numbers, `most` at most."""
    size: int = triton.next_power_of_2(n)
    return size if most is None else min(size, most)


def check_contiguous(*tensors: Tensor) -> None:
    """Kernels take strides from shapes: another layout would make them read and write elsewhere."""
    assert all(tensor.is_contiguous() for tensor in tensors), [(tensor.shape, tensor.stride()) for tensor in tensors]
