"""The device's work by itself: frames, prefills and codec calls of the model runner, without a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, log10
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu.operations import operations
from benchmarks.gpu.steps import Options
from benchmarks.gpu.timing import Timing
from worker.engine.base import CHUNK_RAMP, N_CODEBOOKS, N_CODES
from worker.engine.qwen import QwenEngine, SpeechRequest
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.cuda import HostCopy
from worker.engine.qwen.prompt import Prefill

ROWS = (1, 2, 4, 8, 16, 32, 64)
CODEC_ROWS = (1, 4, 16, 64)
ATTENDED = (256, 512, 1024)
PREFILLS = ((1, 32), (1, 128), (1, 160), (1, 256), (1, 512), (2, 320), (4, 640), (16, 2560), (56, 8960))
N_CUT = 24  # frames of the codec's comparison


class Calls:
    """Times the runner's calls. It uses the engine's slots, so no stream may be open."""

    def __init__(self, engine: QwenEngine, utterance: SpeechRequest, options: Options) -> None:
        self._engine = engine
        self._utterance = utterance
        self._runner = engine._runner
        self._timing = Timing(options.device)
        self._n_slots = options.slots
        self._is_cuda = options.is_cuda
        self._attended = [n for n in ATTENDED if n < options.positions] if options.is_cuda else [64]

    @torch.inference_mode()
    def frames(self) -> list[dict[str, float]]:
        """ms of a frame by rows and attended positions."""
        found = []
        for rows in self._up_to(ROWS):
            for attended in self._attended:
                times = self._timing.ms(self._frame(rows, attended))
                found.append({"rows": rows, "attended": attended, "ms": times["p50"], "max_ms": times["max"]})
        return found

    @torch.inference_mode()
    def codec(self) -> list[dict[str, float]]:
        """ms of a codec call by rows and frames, with its copy to the host; larger calls are never made."""
        found = []
        for rows in self._up_to(CODEC_ROWS):
            for n in CHUNK_RAMP:
                if rows > self._most_rows(n):
                    continue
                times = self._timing.ms(self._decode(rows, n), 10)
                found.append({"rows": rows, "frames": n, "ms": times["p50"], "max_ms": times["max"]})
        return found

    @torch.inference_mode()
    def prefills(self) -> list[dict[str, float]]:
        """ms of a prefill by the segments in it and all their tokens."""
        packs = PREFILLS if self._is_cuda else PREFILLS[:1]
        found = []
        for segments, tokens in (pack for pack in packs if pack[0] <= self._n_slots):
            times = self._timing.ms(self._prefill(segments, tokens // segments))
            found.append({"segments": segments, "tokens": tokens, "ms": times["p50"], "max_ms": times["max"]})
        return found

    @torch.inference_mode()
    def overlap(self) -> dict[str, float]:
        """The share of a codec call's time that hides beside frames on another stream, and a frame's launch time."""
        n, chunk = 16 if self._is_cuda else 2, (self._most_rows(4), 4)
        frame, codes = self._frame(self._n_slots, self._attended[0]), _codes(*chunk)

        def frames() -> None:
            for _ in range(n):
                frame()

        def decode() -> list[HostCopy]:
            return [self._runner.codec.decode(range(chunk[0]), codes) for _ in range(n // 2)]

        def both() -> None:
            decode()
            frames()

        times = {name: self._timing.ms(job, 5)["p50"] for name, job in (("f", frames), ("c", decode), ("b", both))}
        hidden = (times["f"] + times["c"] - times["b"]) / min(times["f"], times["c"])
        return {
            "frames_ms": times["f"],
            "codec_ms": times["c"],
            "both_ms": times["b"],
            "codec_hidden": round(min(max(hidden, 0.0), 1.0), 3),
            "host_ms": round(self._launch_ms(frame, n), 3),
        }

    def _launch_ms(self, frame: Callable[[], object], n: int) -> float:
        """The host's time to launch a frame; on a CPU the frame itself."""
        self._timing.finish()
        began = perf_counter()
        for _ in range(n):
            frame()
        launched_ms = (perf_counter() - began) * 1000 / n
        self._timing.finish()
        return launched_ms

    @torch.inference_mode()
    def codec_cut(self) -> dict[str, dict[str, float]]:
        """How far the same codes differ when they are cut otherwise, or decoded beside other rows."""
        codes = _codes(self._n_slots, N_CUT)
        whole = self._spoken(codes[:1], (12, 12))
        ways = {
            "again": (1, (12, 12)), "one by one": (1, (1,) * N_CUT), "as the ramp": (1, (1, 2, 4, 8, 8, 1)),
            "beside others": (self._most_rows(12), (12, 12)),
        }  # fmt: skip
        found = {}
        for name, (rows, sizes) in ways.items():
            off = np.abs(self._spoken(codes[:rows], sizes) - whole)
            noise = float(np.square(off).mean())
            snr_db = 10 * log10(float(np.square(whole).mean()) / noise) if noise else inf
            found[name] = {"largest, LSB": round(float(off.max()) * 32767, 2), "SNR, dB": round(snr_db, 1)}
        return found

    def _spoken(self, codes: NDArray[np.uint16], sizes: tuple[int, ...]) -> NDArray[np.float64]:
        """The first row's samples when all rows are decoded from their start in chunks of these sizes."""
        for row in range(len(codes)):
            self._runner.codec.reset(row, {})
        ends = np.cumsum(sizes)
        chunks = np.split(codes, ends[:-1], axis=1)
        pcm = [self._runner.codec.decode(range(len(codes)), chunk).wait()[0] for chunk in chunks]
        return np.concatenate(pcm).astype(np.float64)

    @torch.inference_mode()
    def profile(self) -> dict[str, Any]:
        """The kernels of a frame and of a codec call: how many, their time, and those that take most."""
        if not self._is_cuda:
            raise RuntimeError("torch's profiler counts kernels on a GPU only")
        far = self._attended[-1]
        jobs: dict[str, Callable[[], object]] = {
            "frame of 1": self._frame(1, self._attended[0]),
            f"frame of {self._n_slots}": self._frame(self._n_slots, far),
            "codec 1 x 1": self._decode(1, 1),
            f"codec {self._most_rows(4)} x 4": self._decode(self._most_rows(4), 4),
            "prefill of 160": self._prefill(1, 160),
        }
        return {name: self._kernels_of(job) for name, job in jobs.items()}

    def _kernels_of(self, job: Callable[[], object]) -> dict[str, Any]:
        from torch.profiler import ProfilerActivity, profile

        wall = self._timing.ms(job)["p50"]
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            job()
            self._timing.finish()
        events = [event for event in seen.events() if event.device_type.name == "CUDA"]
        times: dict[str, list[float]] = {}
        for event in events:
            times.setdefault(event.name[:110], []).append(event.device_time_total)
        most = sorted(times.items(), key=lambda item: -sum(item[1]))[:25]
        return {
            "nodes": len(events),
            "busy_us": round(sum(map(sum, times.values()))),
            "wall_us": round(wall * 1000),
            "most": [{"name": name, "n": len(each), "us": round(sum(each))} for name, each in most],
        }

    def _frame(self, rows: int, attended: int) -> Callable[[], object]:
        """A frame of the first rows, all of which attend to about so many positions."""
        runner = self._runner
        runner.arena.positions.fill_(attended - min(40, attended // 2))  # a measurement steps them about 40 times
        return lambda: runner.frame(range(rows), [attended] * rows, False)

    def _prefill(self, segments: int, tokens: int) -> Callable[[], object]:
        """The start of so many segments, of so many tokens each, in the first rows."""
        made = [self._segment(slot, tokens) for slot in range(segments)]

        return lambda: self._runner.begin(made)

    def _segment(self, slot: int, tokens: int) -> ActiveSegment:
        segment = self._engine.prepare(self._utterance)
        embeds = segment.prefill.embeds
        segment.slot = slot
        assert isinstance(segment.prefill, Prefill)
        segment.prefill = replace(segment.prefill, embeds=embeds[:1].expand(tokens + 1, -1).contiguous())
        return segment

    @torch.inference_mode()
    def operations(self) -> dict[str, Any]:
        """µs of each of our kernels with the arguments of a frame and of a codec call."""
        rows, timing = self._most_rows(4), self._timing
        jobs: dict[str, Callable[[], object]] = {
            "frame of 1": self._frame(1, self._attended[0]),
            f"frame of {self._n_slots}": self._frame(self._n_slots, self._attended[0]),
            "codec 1 x 1": self._decode(1, 1),
            f"codec {rows} x 4": self._decode(rows, 4),
            "prefill of 160": self._prefill(1, 160),
        }
        return {name: operations(job, self._runner.replayers, timing) for name, job in jobs.items()}

    def _most_rows(self, n_frames: int) -> int:
        """The most rows of a codec call of n frames."""
        return min(self._runner.codec.most_rows(n_frames, is_urgent=False), self._n_slots)

    def _up_to(self, counts: tuple[int, ...]) -> list[int]:
        return [n for n in counts if n < self._n_slots] + [self._n_slots]

    def _decode(self, rows: int, n_frames: int) -> Callable[[], NDArray[np.generic]]:
        codes = _codes(rows, n_frames)
        return lambda: self._runner.codec.decode(range(rows), codes).wait()


def _codes(rows: int, n_frames: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, N_CODES, (rows, n_frames, N_CODEBOOKS), dtype=np.uint16)
