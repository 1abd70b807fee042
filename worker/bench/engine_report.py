"""The run of `bench engine`: our engine and, on the same weights in the same run, upstream qwen-tts.

Both speak the same text with the same voice, greedily, in alternating rounds, so that the machine's load affects both.
A figure is the median of its rounds, a ratio the median of the rounds' ratios.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from worker.bench.engine_codec import codec_report
from worker.bench.engine_rates import open_loop
from worker.bench.engine_settings import Bench
from worker.bench.engine_streams import LANGUAGE, TEXT, Round, Streams, first_audio_ms, recording, report
from worker.bench.engine_upstream import UpstreamPeer, upstream_report
from worker.bench.report import processor_name
from worker.engine.base import FRAME_S
from worker.engine.checkpoint import packages
from worker.engine.checkpoint.devices import probe
from worker.engine.exactness import threads
from worker.engine.qwen import QwenEngine

Report = dict[str, Any]


def measure(bench: Bench) -> Report:
    """All measurements of the bench. Raises EngineError."""
    with threads(bench.n_threads) as n_threads:
        began, began_cpu = perf_counter(), process_time()
        engine = QwenEngine.load(bench.model, device=bench.device, dtype=bench.dtype, slots=bench.slots, warm=False)
        memory = {"loaded": engine.memory_bytes}
        engine.warm_up()
        streams = Streams(engine, bench.n_frames)
        for n in bench.streams:
            streams.round(n)
        memory["spoken"] = engine.memory_bytes
        peer = UpstreamPeer.load(bench.model, engine, bench.n_frames) if bench.with_upstream else None
        beside = None if bench.beside is None else _beside(bench, bench.beside)
        rounds = [_round(bench, streams, peer, beside) for _ in range(bench.n_repeats)]
        result: Report = {
            "machine": _machine(engine, n_threads),
            "model": {"name": Path(engine.model.name).name, "fingerprint": engine.model.fingerprint},
            "settings": _settings(bench, engine),
            "streams": {str(n): report(n, [taken.ours[n] for taken in rounds]) for n in bench.streams},
            "cached_state": _cached_state(rounds),
            "ratios": {"cached_state_vs_reference": _ratio(taken.reference_s / taken.cached_s for taken in rounds)},
            "memory_bytes": memory,
        }
        if bench.rates:
            result["rates"] = [open_loop(streams, rate, bench.n_requests) for rate in bench.rates]
        if bench.beside is not None:
            _compare_formats(result, rounds, bench.beside)
        if peer is not None:
            _compare(result, rounds, peer)
        busy = (process_time() - began_cpu) / (perf_counter() - began)
        result["machine"]["cpu_s_per_s"] = round(busy, 2)
        return result


@dataclass(frozen=True, slots=True)
class _Taken:
    """One round. cached_s, reference_s: time to first audio, without and with decoding the reference.

    beside_s: a step without the codec in the other number format, by the number of streams.
    """

    ours: Mapping[int, Round]
    cached_s: float
    reference_s: float
    upstream_s: float
    beside_s: Mapping[int, float]


def _round(bench: Bench, streams: Streams, peer: UpstreamPeer | None, beside: Streams | None) -> _Taken:
    upstream_s = peer.round() if peer else 0.0
    ours = {n: streams.round(n) for n in bench.streams}
    beside_s = {n: beside.step_s(n) for n in bench.streams} if beside else {}
    cached_s = streams.first_audio_s(1)[0]
    return _Taken(ours, cached_s, streams.reference_s() + streams.first_audio_s(1)[0], upstream_s, beside_s)


def _beside(bench: Bench, dtype: str) -> Streams:
    engine = QwenEngine.load(bench.model, device=bench.device, dtype=dtype, slots=bench.slots)
    return Streams(engine, bench.n_frames)


def _compare_formats(result: Report, rounds: list[_Taken], dtype: str) -> None:
    """Add a step's time in the other number format, and its ratio to ours."""
    times = {n: median(taken.beside_s[n] for taken in rounds) for n in rounds[0].ours}
    milliseconds = {str(n): round(seconds * 1000, 3) for n, seconds in times.items()}
    result["beside"] = {"dtype": dtype, "frame_without_codec_ms": milliseconds}
    for n in times:
        name = f"frame_{n}_{dtype}_vs_{result['settings']['dtype']}"
        result["ratios"][name] = _ratio(taken.beside_s[n] / taken.ours[n].step_s for taken in rounds)


def _compare(result: Report, rounds: list[_Taken], peer: UpstreamPeer) -> None:
    """Add upstream's and the codec's figures, the ratios, and whether the codes are equal."""
    ratios, n_theirs = result["ratios"], len(peer.codes)
    result["upstream"] = upstream_report(n_theirs, [taken.upstream_s for taken in rounds])
    for n in rounds[0].ours:
        ours = [(taken.ours[n], taken.upstream_s) for taken in rounds]
        if n == 1:
            ratios["first_audio_vs_upstream_whole"] = _ratio(whole / median(own.firsts_s) for own, whole in ours)
            ratios["frame_vs_upstream"] = _ratio(own.frame_s / (whole / n_theirs) for own, whole in ours)
        ratios[f"audio_rate_{n}_vs_upstream_1"] = _ratio(
            own.audio_rate / (n_theirs * FRAME_S / whole) for own, whole in ours
        )
        result["streams"][str(n)]["codes_equal"] = all(peer.agrees(codes) for own, _ in ours for codes in own.codes)
    result["codes_equal"] = all(figures["codes_equal"] for figures in result["streams"].values())
    result["codec"], its_ratios = codec_report(peer.model, len(rounds))
    ratios |= its_ratios


def _ratio(values: Iterable[float]) -> float:
    return round(float(median(values)), 3)


def _cached_state(rounds: list[_Taken]) -> Report:
    return {
        "first_audio_ms": first_audio_ms([taken.cached_s for taken in rounds]),
        "first_audio_decoding_reference_ms": first_audio_ms([taken.reference_s for taken in rounds]),
    }


def _settings(bench: Bench, engine: QwenEngine) -> Report:
    return {
        "device": str(engine.model.device),
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "attention": engine.model.attention,
        "slots": bench.slots,
        "frames": bench.n_frames,
        "repeats": bench.n_repeats,
        "greedy": True,
        "text": TEXT,
        "language": LANGUAGE,
        "reference_s": len(recording().audio) / recording().sample_rate_hz,
    }


def _machine(engine: QwenEngine, n_threads: int) -> Report:
    gpus = probe()["gpus"] if engine.model.device.type == "cuda" else []
    return {
        "cpu": processor_name(),
        "gpus": [gpu["name"] for gpu in gpus],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: packages.installed(name) for name in ("makima-tts", *packages.NEEDED)},
        "threads": n_threads,
    }
