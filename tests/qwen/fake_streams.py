"""CUDA's streams, events and graphs where there is no GPU, and a watch that sees what two streams do to one tensor.

Every stream is a clock. What is launched on a stream comes after what was launched there before, after what the stream
was told to wait for, and after what the host had waited for. Anything else may happen at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses import fake_tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.qwen.fake_gpu import is_composite
from worker.engine.qwen.codec_runner import CodecRunner
from worker.engine.qwen.cuda import HostCopy

Uses = tuple[list[Any], list[Any]]  # storages read, storages written


class Race(AssertionError):
    """Two streams use one tensor in no defined order."""


class Clock:
    """Knows, of every clock, the last moment that is surely past."""

    def __init__(self, *_: object, **__: object) -> None:
        self.past: dict[Clock, int] = {}

    def wait_stream(self, other: Clock) -> None:
        for clock, moment in other.past.items():
            self.past[clock] = max(moment, self.past.get(clock, 0))

    def tick(self) -> tuple[Clock, int]:
        self.past[self] = self.past.get(self, 0) + 1
        return self, self.past[self]

    def is_after(self, moment: tuple[Clock, int]) -> bool:
        return self.past.get(moment[0], 0) >= moment[1]

    def is_after_all(self, other: Clock) -> bool:
        return all(self.is_after(moment) for moment in other.past.items())

    def wait_event(self, event: Clock) -> None:
        self.wait_stream(event)

    def synchronize(self) -> None:
        HOST.wait_stream(self)


HOST = Clock()


class Event(Clock):
    """A moment of a stream. `has_come` decides whether it is past when the host asks before it must be."""

    has_come: Callable[[Event], bool] = staticmethod(lambda event: False)

    def record(self, stream: Clock) -> None:
        self.n_launches = stream.past.get(stream, 0)
        self.wait_stream(stream)

    def query(self) -> bool:
        if not (HOST.is_after_all(self) or Event.has_come(self)):
            return False
        HOST.wait_stream(self)
        return True

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds, one for each launch between."""
        return later.n_launches - self.n_launches


@dataclass(eq=False)
class Graph:
    """Replaying it does again what was done while it was captured, on the stream that is current then."""

    launches: list[Uses] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)  # the pool and the stream of its capture: cuBLAS's workspace
    watch: Watch | None = None

    def pool(self) -> Any:
        return self.shared[0]

    def replay(self) -> None:
        assert self.watch is not None
        self.watch.launch(list(self.shared), list(self.shared))
        self.watch.owner_of[self.shared[0]] = self
        for reads, writes in self.launches:
            self.watch.launch(reads, writes)


class Watch(TorchDispatchMode):
    """Raises Race. What was allocated before `is_sealed` stays for ever; what comes after may be freed at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.default = Clock()
        self.current = [self.default]
        self.capturing: Graph | None = None
        self.is_sealed = False
        self.owner_of: dict[Any, Graph] = {}  # of a pool: the graph that ran last
        self._graph_of: dict[Any, Graph] = {}
        self._written: dict[Any, tuple[Clock, int]] = {}
        self._read: dict[Any, list[tuple[Clock, int]]] = {}
        self._allowed: dict[Any, set[Clock]] = {}  # streams that may use memory which may be freed
        self._alive: list[Any] = []  # so that no address is used twice
        self._in_rows: set[Any] = set()
        self._rows: Collection[int] = ()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if is_composite(func):  # may or may not give a view
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if func.is_view or func.namespace == "prim":
            return result
        given = {self.storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        written = [
            a for a, s in zip(args, func._schema.arguments, strict=False) if s.alias_info and s.alias_info.is_write
        ]
        written += [
            leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and self.storage(leaf) not in given
        ]
        writes = [self.storage(leaf) for leaf in tree_leaves(written)]
        for new in set(writes) - given:
            self._allocate(new, is_host=not tree_leaves(result)[0].is_cuda)
        if self.capturing is not None:
            self.capturing.launches.append((list(given), writes))
        else:
            self.launch(list(given), writes)
            if _is_waited_for(func, args, kwargs, result):
                self.current[-1].synchronize()
        return result

    def storage(self, tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        self._alive.append(storage)
        return storage._cdata

    def _allocate(self, storage: Any, is_host: bool) -> None:
        if self.capturing is not None:
            self._graph_of[storage] = self.capturing
        elif self.is_sealed and not is_host:
            self._allowed[storage] = {self.current[-1]}

    def launch(self, reads: list[Any], writes: list[Any]) -> None:
        stream = self.current[-1]
        stream.wait_stream(HOST)
        for storage in {*reads, *writes}:
            self._check_alive(storage, stream)
        reads, writes = self._places(reads), self._places(writes)
        for storage in {*reads, *writes}:
            before = [self._written[storage]] if storage in self._written else []
            if storage in writes:
                before += self._read.pop(storage, [])
            if not all(stream.is_after(moment) for moment in before):
                raise Race("a tensor is used by another stream at the same time")
        moment = stream.tick()
        for storage in writes:
            self._written[storage] = moment
        for storage in set(reads) - set(writes):
            self._read.setdefault(storage, []).append(moment)

    def keep_rows_apart(self, tensor: Tensor) -> None:
        """What is launched from now on uses the rows of this tensor that `using` names, and no other."""
        self._in_rows.add(self.storage(tensor))

    @contextmanager
    def using(self, rows: Collection[int]) -> Iterator[None]:
        before, self._rows = self._rows, rows
        yield
        self._rows = before

    def _places(self, storages: list[Any]) -> list[Any]:
        whole = [storage for storage in storages if storage not in self._in_rows]
        return whole + [(storage, row) for storage in storages if storage in self._in_rows for row in self._rows]

    def _check_alive(self, storage: Any, stream: Clock) -> None:
        graph = self._graph_of.get(storage)
        if graph is not None and self.owner_of.get(graph.pool(), graph) is not graph:
            raise Race("a graph's result is read after another graph has used its memory")
        if stream not in self._allowed.get(storage, {stream}):
            raise Race("memory of one stream is used by another, and may be given away before that is done")

    def keep(self, tensor: Tensor) -> None:
        """It is not freed before the host has waited for the streams that use it."""
        self._allowed.pop(self.storage(tensor), None)

    def on_host(self, tensor: Tensor) -> None:
        """The host looks at it."""
        moment = self._written.get(self.storage(tensor))
        if moment is not None and not HOST.is_after(moment):
            raise Race("the host reads what is not there yet")


def _is_waited_for(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> bool:
    """Copies between host and device block, unless non_blocking."""
    if func._schema.name not in ("aten::_to_copy", "aten::copy_") or kwargs.get("non_blocking") or args[2:3] == (True,):
        return False
    return any(leaf.is_cuda != result.is_cuda for leaf in args if isinstance(leaf, Tensor))


def watch_rows(watch: Watch, codec: CodecRunner, patch: pytest.MonkeyPatch) -> None:
    """From now on a codec call uses the state of its own slots, and of the row that fills its stream's calls up."""
    decode, reset, inputs = codec.decode, codec.reset, codec._inputs

    def decoding(slots: Sequence[int], codes: NDArray[np.uint16], is_urgent: bool = False) -> HostCopy:
        lane = codec._urgent if is_urgent else codec._wide
        with watch.using({*slots, lane.padding}):
            return decode(slots, codes, is_urgent)

    def resetting(slot: int, state: Mapping[str, Tensor]) -> None:
        with watch.using({slot}):
            reset(slot, state)

    def kept(*shape: Any) -> tuple[Tensor, Tensor]:
        made = inputs(*shape)
        for tensor in made:
            watch.keep(tensor)
        return made

    for rows in codec._codec._state.values():
        watch.keep_rows_apart(rows)
    patch.setattr(codec, "_inputs", kept)
    patch.setattr(codec, "decode", decoding)
    patch.setattr(codec, "reset", resetting)


@contextmanager
def watched(patch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Replaces torch.cuda by the fakes above and watches every operation."""
    watch = Watch()
    HOST.past.clear()
    patch.setattr(Event, "has_come", staticmethod(lambda event: False))

    @contextmanager
    def stream(chosen: Clock | None) -> Iterator[None]:
        watch.current.append(chosen or watch.current[-1])
        yield
        watch.current.pop()

    @contextmanager
    def graph(captured: Graph, pool: Any, on: Clock, **_: Any) -> Iterator[None]:
        synchronize()
        captured.shared, captured.watch = [pool or object(), on], watch
        watch.capturing = captured
        with stream(on):
            yield
        watch.capturing = None

    def synchronize(*_: object) -> None:
        for clock in {clock for known in (watch.default, *watch.current) for clock in known.past}:
            HOST.wait_stream(clock)

    def numpy(tensor: Tensor) -> np.ndarray[Any, Any]:
        watch.on_host(tensor)
        return np.zeros(tensor.shape)

    def record_stream(tensor: Tensor, other: Clock) -> None:
        watch._allowed.get(watch.storage(tensor), set()).add(other)

    fakes: dict[str, Callable[..., Any]] = {
        "Stream": Clock, "Event": Event, "CUDAGraph": Graph, "graph": graph, "stream": stream,
        "current_stream": lambda *_: watch.current[-1], "device": nullcontext, "synchronize": synchronize,
        "set_stream": lambda chosen: watch.current.__setitem__(-1, chosen),
    }  # fmt: skip
    for name, fake in fakes.items():
        patch.setattr(torch.cuda, name, fake)
    patch.setattr(fake_tensor, "CONSTANT_NUMEL_LIMIT", 0)  # else single numbers are moved for real
    patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    patch.setattr(Tensor, "record_stream", record_stream)
    patch.setattr(Tensor, "numpy", numpy)
    with watch:
        yield watch
