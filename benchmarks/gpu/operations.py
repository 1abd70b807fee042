"""µs of each Triton kernel with the arguments that the engine gives it in a frame and in a codec call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from benchmarks.gpu.timing import Timing
from worker.engine.qwen.cuda import Replayer

NAMESPACE = "makima"
COPIED_BYTES = 2**26  # arguments up to this size are copied, so that a kernel that advances them runs on its own copy


class LaunchLog(TorchDispatchMode):
    """The launches of our kernels: how many by name and shapes, and a call like each."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()
        self.calls: dict[str, Callable[[], object]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace == NAMESPACE:
            shapes = [list(arg.shape) for arg in args if isinstance(arg, Tensor)]
            name = f"{func._schema.name.partition('::')[2]} {shapes[0]}"
            self.counts[name] += 1
            if name not in self.calls:
                copied, more = tree_map(_copied, (tuple(args), dict(kwargs or {})))
                self.calls[name] = partial(func, *copied, **more)
        return func(*args, **kwargs or {})


def operations(job: Callable[[], object], replayers: Sequence[Replayer], timing: Timing) -> list[dict[str, Any]]:
    """Each kernel that a job launches: its name with the first argument's shape, how often, and µs of one launch."""
    with _eagerly(replayers), LaunchLog() as log:
        job()
    return [{"kernel": name, "n": log.counts[name], "us": timing.us(call, 20)} for name, call in log.calls.items()]


@contextmanager
def _eagerly(replayers: Sequence[Replayer]) -> Iterator[None]:
    usual = [replayer.is_eager for replayer in replayers]
    for replayer in replayers:
        replayer.is_eager = True
    try:
        yield
    finally:
        for replayer, was in zip(replayers, usual, strict=True):
            replayer.is_eager = was


def _copied(value: Any) -> Any:
    is_small = isinstance(value, Tensor) and value.numel() * value.element_size() <= COPIED_BYTES
    return value.clone() if is_small else value
