"""The part `figures`: start-up, the times of frames, prefills and codec calls, first audio, streams, and upstream.

The model is a checkpoint of the full shapes; its weights may be random, because their values do not change the speed.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from benchmarks.gpu import card
from benchmarks.gpu.steps import Options, Step

if TYPE_CHECKING:
    from benchmarks.gpu.calls import Calls
    from worker.bench.engine_streams import Streams
    from worker.engine.qwen import QwenEngine

STREAMS = (1, 8, 64, 16, 32)
RATES = (20.0, 10.0, 1.0)
RATE_S = 12
N_SPEAKING = 8  # before the burst
UPSTREAM_FRAMES = 50


def steps(options: Options) -> list[Step]:
    """Figures that decide most come first, and steps that may break the context last."""
    figures = Figures(options)
    return [
        Step("device", 90, lambda: card.device(options), is_needed=True),
        Step("start", 180, figures.start, is_needed=True),
        Step("frame", 40, partial(figures.of_calls, "frames")),
        Step("codec", 40, partial(figures.of_calls, "codec")),
        Step("prefill", 20, partial(figures.of_calls, "prefills")),
        Step("overlap", 20, partial(figures.of_calls, "overlap")),
        Step("alone", 20, figures.alone),
        *(Step(f"streams {n}", 30, partial(figures.at_once, n)) for n in STREAMS if n <= options.slots),
        *(Step(f"rate {rate:g}", 45, partial(figures.rate, rate)) for rate in RATES),
        Step("burst", 30, figures.burst),
        Step("codec cut", 20, partial(figures.of_calls, "codec_cut")),
        Step("operations", 60, partial(figures.of_calls, "operations")),
        Step("profile", 60, partial(figures.of_calls, "profile")),
        Step("upstream", 90, figures.upstream),
    ]


class Figures:
    """The steps' functions, around one engine."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._engine: QwenEngine | None = None

    def start(self) -> dict[str, Any]:
        """Load and warm up: seconds and memory, and the graphs captured by kind, [number, seconds]."""
        from time import perf_counter

        from benchmarks.gpu.captures import captures_by_kind
        from benchmarks.gpu.timing import memory
        from worker.engine.qwen import QwenEngine

        given = self._options
        began = perf_counter()
        kernels = {} if given.kernels == "auto" else {"kernels": given.kernels}
        engine = QwenEngine.load(
            given.model, device=given.device, dtype=given.dtype, slots=given.slots, warm=False,
            max_positions=given.positions, **kernels,
        )  # fmt: skip
        loaded_s, loaded = perf_counter() - began, memory(given.device)
        with captures_by_kind() as captured:
            engine.warm_up()
        self._engine = engine
        return {
            "load_s": round(loaded_s, 2),
            "ready_s": round(perf_counter() - began, 2),
            "dtype": str(engine.model.dtype),
            "kernels": engine.model.kernels,
            "loaded": loaded,
            "ready": memory(given.device),
            "estimated_gib": self._estimated_gib(engine),
            "captures": captured,
        }

    def _estimated_gib(self, engine: QwenEngine) -> float:
        """What the worker takes the engine to need before it loads it."""
        from worker.engine.checkpoint import GIB
        from worker.engine.checkpoint.files import read
        from worker.engine.checkpoint.room import Need

        given, dtype = self._options, str(engine.model.dtype).removeprefix("torch.")
        need = Need.of(read(given.model), dtype, engine.model.device.type, given.positions)
        return round(need.total(given.slots) / GIB, 3)

    @property
    def engine(self) -> QwenEngine:
        if self._engine is None:
            raise RuntimeError("no engine was loaded; the step `start` does it")
        return self._engine

    @cached_property
    def _calls(self) -> Calls:
        from benchmarks.gpu.calls import Calls

        return Calls(self.engine, self.streams.utterance, self._options)

    def of_calls(self, name: str) -> Any:
        """The result of a method of Calls."""
        return getattr(self._calls, name)()

    @cached_property
    def streams(self) -> Streams:
        from worker.bench.engine_streams import Streams

        return Streams(self.engine, self._options.frames)

    def alone(self) -> dict[str, Any]:
        """First audio of one request at a time."""
        from worker.bench.engine_streams import first_audio_ms

        n = 30 if self._options.is_cuda else 3
        self.streams.first_audio_s(1)
        return first_audio_ms([seconds for _ in range(n) for seconds in self.streams.first_audio_s(1)])

    def at_once(self, n: int) -> dict[str, Any]:
        """The figures of `bench engine` for n streams that begin together."""
        from worker.bench.engine_streams import report

        return report(n, [self.streams.round(n) for _ in range(2 if self._options.is_cuda else 1)])

    def rate(self, per_s: float) -> dict[str, Any]:
        """An open loop of so many requests a second."""
        from worker.bench.engine_rates import open_loop

        n = min(200, int(RATE_S * per_s) + 3) if self._options.is_cuda else 3
        return open_loop(self.streams, per_s, n)

    def burst(self) -> dict[str, Any]:
        """Eight speak, and as many more as there are slots arrive at once."""
        from benchmarks.gpu.burst import burst

        n = min(N_SPEAKING, self._options.slots // 2)
        return burst(self.engine, self.streams.utterance, n, self._options.slots - n)

    def upstream(self) -> dict[str, Any]:
        """qwen-tts with the same weights, and the first frame at which its greedy codes differ from ours."""
        from worker.bench.engine_upstream import UpstreamPeer, upstream_report

        peer = UpstreamPeer.load(self._options.model, self.engine, min(UPSTREAM_FRAMES, self._options.frames))
        [ours] = self.engine.synthesize([self.streams.utterance])
        n = min(len(ours.codes), len(peer.codes))
        differs = (ours.codes[:n] != peer.codes[:n]).any(1)
        taken = self.streams.round(1)
        theirs = upstream_report(len(peer.codes), [peer.round() for _ in range(2)])
        return theirs | {
            "ours, frame_ms": round(taken.frame_s * 1000, 3),
            "frames compared": n,
            "first frame that differs": int(differs.argmax()) if differs.any() else None,
        }
