"""Which lines of a parser's modules were reached: an input that reaches a new one is kept, to be changed further."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from types import CodeType, FrameType, TracebackType
from typing import Any

MAX_STALE = 100_000  # lines watched in one function since the last new one: about 30 ms


class _Function:
    """The lines of a function that were not reached yet."""

    __slots__ = ("left", "n_stale")

    def __init__(self, code: CodeType, is_watched: bool) -> None:
        self.left = {line for *_, line in code.co_lines() if line} if is_watched else set()
        self.n_stale = 0


class Reached:
    """A context in which lines are watched. A function costs next to nothing once all of its lines were reached, or
    none of those that are left for so long that it is given up."""

    def __init__(self, modules: Iterable[str]) -> None:
        self._files = {spec.origin for module in modules if (spec := find_spec(module)) is not None}
        self._functions: dict[CodeType, _Function] = {}
        self.n_lines = 0

    def __enter__(self) -> Reached:
        if self._files:
            sys.settrace(self._call)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        function = self._functions.get(code)
        if function is None:
            function = self._functions[code] = _Function(code, code.co_filename in self._files)
        return self._line if function.left else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        function = self._functions[frame.f_code]
        if frame.f_lineno in function.left:
            function.left.remove(frame.f_lineno)
            function.n_stale = 0
            self.n_lines += 1
        function.n_stale += 1
        if function.n_stale > MAX_STALE:
            function.left.clear()
        return self._line if function.left else None
