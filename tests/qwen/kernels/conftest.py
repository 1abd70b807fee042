"""The device of the kernels' tests: a GPU, or else a CPU, where kernels run in Triton's interpreter.

tests/conftest.py switches the interpreter on, as other tests may import triton first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tests.gpu.conftest import exact_products


@pytest.fixture(scope="session")
def device() -> Iterator[torch.device]:
    """Where kernels run. In the interpreter, bfloat16 is rounded and multiplied as a GPU does it."""
    if torch.cuda.is_available():
        with exact_products():
            yield torch.device("cuda", 0)
        return
    triton = pytest.importorskip("triton")
    assert triton.knobs.runtime.interpret, "TRITON_INTERPRET is to be 1 before triton is imported"
    with pytest.MonkeyPatch.context() as patch:
        _mend(patch)
        yield torch.device("cpu")


def _mend(patch: pytest.MonkeyPatch) -> None:
    """Mend Triton 3.6's interpreter: a loop up to a loaded number fails with numpy 2.4; it truncates to bfloat16, and
    multiplies bfloat16 matrices as the integers of their bits."""
    import triton.language as tl
    from triton.runtime import interpreter

    convert, patch_tensor = interpreter._convert_float, interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def converted(data: Any, source: Any, target: Any, mode: Any) -> Any:
        if (source, target) != (tl.float32, tl.bfloat16):
            return convert(data, source, target, mode)
        tensor = torch.from_numpy(np.array(data, dtype=np.float32)).bfloat16()
        return tensor.view(torch.int16).numpy().view(np.uint16)

    def dot(self: Any, a: Any, b: Any, d: Any, *_: Any) -> Any:
        left, right = (
            (x.data.astype(np.uint32) << 16).view(np.float32) if x.dtype.scalar == tl.bfloat16 else x.data
            for x in (a, b)
        )
        product = np.matmul(left, right, dtype=d.data.dtype) + d.data
        return interpreter.TensorHandle(product, d.dtype.scalar)

    patch.setattr(interpreter, "_convert_float", converted)
    patch.setattr(interpreter, "_patch_lang_tensor", patched)
    patch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)
