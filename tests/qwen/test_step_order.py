"""On a GPU nobody waits for what he does not need: shown by a whole batch over streams that are clocks.

The models are replaced by a few operations on the tensors that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from random import Random
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.qwen.fake_gpu import DEVICE, fake_model, fake_tensors
from tests.qwen.fake_streams import HOST, Event, Watch, watch_rows, watched
from tests.qwen.traffic import Clock
from worker.engine.base import Finish, Frames
from worker.engine.qwen import Sampling, codec_runner
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule
from worker.engine.qwen.codec.decoder import Codec
from worker.engine.qwen.cuda import HostCopy, Key, Replayer
from worker.engine.qwen.frame import FrameStep, Plan
from worker.engine.qwen.prompt import Prefill
from worker.engine.qwen.runner import ModelRunner
from worker.engine.qwen.talker import Talker

N_SLOTS, N_POSITIONS, WIDTH = 3, 128, 64
NO_CODES = np.zeros((0, 16), dtype=np.uint16)


class Stage:
    """A batch on a GPU that is not there, which notes what the host waits for."""

    def __init__(self, watch: Watch, runner: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.watch, self.runner = watch, runner
        self.batch = Batch(runner, Schedule(), is_live=True, clock=Clock())
        self.last_frame: Any = None
        self.n_waits = 0
        self.paused: Collection[int] = ()
        self.calls: list[tuple[bool, int, Any]] = []  # of the codec: urgent, frames, the moment of its end
        frame, decode = runner.frame, runner.codec.decode

        def framing(*arguments: Any) -> Any:
            copies = frame(*arguments)
            self.last_frame = watch.default, watch.default.past[watch.default]
            return copies

        def decoding(slots: Sequence[int], codes: NDArray[np.uint16], is_urgent: bool = False) -> HostCopy:
            copy = decode(slots, codes, is_urgent)
            stream: Any = (runner.codec._urgent if is_urgent else runner.codec._wide).stream
            self.calls.append((is_urgent, codes.shape[1], (stream, stream.past[stream])))
            monkeypatch.setattr(copy, "wait", self._waiting(copy))
            return copy

        monkeypatch.setattr(runner, "frame", framing)
        monkeypatch.setattr(runner.codec, "decode", decoding)

    def open(self, max_frames: int, n_prompt: int = 20) -> int:
        on_gpu = [torch.zeros(n, WIDTH, dtype=torch.bfloat16, device=DEVICE) for n in (n_prompt + 1, 0, 1)]
        for tensor in on_gpu:
            self.watch.keep(tensor)
        prefill = Prefill(on_gpu[0], on_gpu[1], on_gpu[2][0])
        return self.batch.open(ActiveSegment(prefill, {}, Sampling().resolved({}), 1, max_frames, NO_CODES))

    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        self.paused = paused
        return self.batch.step(paused)

    def _waiting(self, copy: HostCopy) -> Callable[[], Any]:
        done, wait = cast(Event, copy._done), copy.wait

        def waits() -> Any:
            if HOST.is_after_all(done):
                return wait()
            rows = [row for row in self.batch._rows if row.slot not in self.paused]
            steppable = [row for row in rows if row.can_step and row.finish is None]
            is_in_flight = self.last_frame is not None and not HOST.is_after(self.last_frame)
            assert is_in_flight or not steppable, "the host waits for samples while the device has no frame to compute"
            self.n_waits += 1
            return wait()

        return waits


def a_frame(step: FrameStep, plan: Plan, *_: None) -> None:
    step._arena.inputs.add_(step._arena.text)
    step._arena.codes.add_(step._arena.positions[:, None])
    step._arena.margins.add_(1)


def a_prefill(talker: Talker, embeds: Tensor, *places: Tensor) -> None:
    talker.caches[0].keys.add_(embeds.sum() + sum(place.sum() for place in places))


def a_codec_call(codec: Codec, codes: Tensor, slots: Tensor, state: None = None) -> Tensor:
    for rows in codec._state.values():
        rows.index_copy_(0, slots, rows.index_select(0, slots))
    return torch.zeros(len(codes), codes.shape[1] * 1920, device=DEVICE).add_(codes.sum())


@pytest.fixture(scope="module")
def gpu() -> Iterator[tuple[Watch, ModelRunner]]:
    with pytest.MonkeyPatch.context() as patch, fake_tensors(), torch.inference_mode(), watched(patch) as watch:
        patch.setattr(codec_runner, "CHUNK_RAMP", (1, 2, 4))
        patch.setattr(FrameStep, "__call__", a_frame)
        patch.setattr(Talker, "prefill_packed", a_prefill)
        patch.setattr(Codec, "decode", a_codec_call)
        runner = ModelRunner(fake_model("tiny"), N_SLOTS, N_POSITIONS)
        runner.warm_up()
        watch.is_sealed = True
        watch_rows(watch, runner.codec, patch)
        yield watch, runner


@pytest.fixture
def stage(gpu: tuple[Watch, ModelRunner], monkeypatch: pytest.MonkeyPatch) -> Stage:
    torch.cuda.synchronize()
    for replayer in gpu[1].replayers:
        replayer.n_eager.clear()
    return Stage(*gpu, monkeypatch)


def test_a_frame_is_in_flight_whenever_the_host_waits_for_samples(stage: Stage) -> None:
    stage.open(6)
    heard = []
    for n in range(12):
        if n in (2, 5):
            stage.open(4 + n)
        heard += stage.step()
    while stage.batch.open_slots:
        heard += stage.step()
    assert stage.n_waits > 6
    assert sum(len(frames.codes) for frames in heard) == 6 + 6 + 9


def test_a_first_audio_is_given_before_a_wide_call_that_was_launched_earlier(stage: Stage) -> None:
    early = stage.open(40)
    while not any(n_frames == 4 for _, n_frames, _ in stage.calls):
        stage.step()
    late = stage.open(40)
    heard: list[Frames] = []
    while not any(frames.slot == late for frames in heard):
        heard = stage.step()
    wide = [moment for is_urgent, n_frames, moment in stage.calls if not is_urgent and n_frames == 4]
    assert not HOST.is_after(wide[0])
    assert all(frames.slot != early for frames in heard)
    assert [is_urgent for is_urgent, n_frames, _ in stage.calls if n_frames == 1] == [True, True]


def test_an_end_that_has_a_wide_call_under_way_keeps_the_urgent_stream_free(stage: Stage) -> None:
    stage.open(9)
    ended, heard = False, []
    while not ended:
        new = stage.step()
        heard += [len(frames.codes) for frames in new]
        ended = any(frames.finish is Finish.LENGTH for frames in new)
    urgent: Any = stage.runner.codec._urgent.stream
    assert [is_urgent for is_urgent, *_ in stage.calls] == [True, False, False, False]
    assert not any(urgent.is_after(moment) for is_urgent, _, moment in stage.calls if not is_urgent)
    assert sum(heard) == 9


@pytest.mark.parametrize("seed", range(4))
def test_no_schedule_races_and_every_frame_comes_once_and_in_order(
    stage: Stage, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, heard, wanted = Random(seed), dict[int, int](), dict[int, int]()
    monkeypatch.setattr(Event, "has_come", staticmethod(lambda event: random.random() < 0.4))
    for n in range(40):
        if n < 30 and len(stage.batch.open_slots) < N_SLOTS and random.random() < 0.5:
            slot = stage.open(max_frames := random.randint(1, 14), random.choice((3, 20, 70)))
            heard[slot], wanted[slot] = 0, max_frames
        if heard and random.random() < 0.1:
            slot = random.choice(list(heard))
            stage.batch.drop(slot)
            del heard[slot], wanted[slot]
        paused = {slot for slot in heard if n < 30 and random.random() < 0.2}
        for frames in stage.step(paused):
            assert frames.first_frame == heard[frames.slot]
            heard[frames.slot] += len(frames.codes)
            if frames.finish is not None:
                assert heard.pop(frames.slot) == wanted.pop(frames.slot)
    while heard:
        for frames in stage.step():
            heard[frames.slot] += len(frames.codes)
            if frames.finish is not None:
                assert heard.pop(frames.slot) == wanted.pop(frames.slot)
    assert stage.n_waits


def test_a_kind_of_frame_that_was_not_captured_runs_once_without_a_graph(stage: Stage) -> None:
    runner = stage.runner
    n_graphs = [replayer.n_graphs for replayer in runner.replayers]
    for n_eager in (1, 1, 1):
        runner.frame([0], [40], True)
        assert runner.n_eager == {"frame": n_eager}
    runner.frame([0, 1], [40, 40], True)
    assert runner.n_eager == {"frame": 2}
    assert [replayer.n_graphs for replayer in runner.replayers] == [n_graphs[0] + 2, *n_graphs[1:]]


def test_after_a_failed_capture_no_other_is_tried_while_speaking(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fails(_: Replayer, key: Key, *__: object) -> None:
        tried.append(key)
        torch.cuda.set_stream(torch.cuda.Stream())  # as torch leaves it after a capture that CUDA has invalidated
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    replayer, x = Replayer(DEVICE), torch.zeros(3, device=DEVICE)
    stage.watch.keep(x)
    replayer.capture(("at start",), lambda: x + 1)
    monkeypatch.setattr(Replayer, "_record", fails)
    current = torch.cuda.current_stream()
    for key in ("one", "one", "other"):
        replayer.run((key,), lambda: x + 1)
        assert torch.cuda.current_stream() is current
    assert replayer.n_eager == {"one": 2, "other": 1}
    assert tried == [("one",)]


def test_graphs_captured_while_speaking_are_few(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.qwen.cuda.MOST_LATE", 1)
    replayer, x = Replayer(DEVICE), torch.zeros(3, device=DEVICE)
    stage.watch.keep(x)
    replayer.capture(("at start",), lambda: x + 1)
    for key in ("one", "other", "other"):
        replayer.run((key,), lambda: x + 1)
    assert replayer.n_graphs == 2
    assert replayer.n_eager == {"one": 1, "other": 2}


def test_a_prefill_and_a_frame_are_timed_on_the_device(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch takes a millisecond of these clocks, whatever the host needs for it."""
    assert stage.runner.frame_s(2) is not None, "measured at start"
    monkeypatch.setattr(Event, "has_come", staticmethod(lambda event: True))
    assert stage.runner.frame_s(1) == pytest.approx(0.004)  # a graph, and its three operations
    one_s = stage.runner.prefill_s(20)
    assert one_s is not None
    assert 0.004 < one_s < 0.02
    assert stage.runner.prefill_s(3 * 384 + 20) == pytest.approx(4 * one_s), "in four launches"


def test_segments_that_begin_together_are_prefilled_in_one_launch(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, run = list[Any](), stage.runner._graphs.run

    def running(key: Any, function: Any) -> Any:
        launched.append(key)
        return run(key, function)

    monkeypatch.setattr(stage.runner._graphs, "run", running)
    monkeypatch.setattr(stage.runner, "prefill_s", lambda n_tokens: 0.001)  # less than a frame
    for n_prompt in (20, 100, 1):
        stage.open(3, n_prompt)
    while stage.batch._waiting:
        stage.step()
    assert [key for key in launched if key[0] == "prefill"] == [("prefill", 128)]
    while stage.batch.open_slots:
        stage.step()
    assert not stage.runner.n_eager


def test_few_graphs_are_captured_at_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 64 slots: 186 when every kind of frame was captured."""
    keys: dict[int, list[Any]] = {}
    monkeypatch.setattr(Replayer, "capture", lambda self, key, _: keys.setdefault(id(self), []).append(key))
    monkeypatch.setattr(Replayer, "run", lambda *_: None)
    monkeypatch.setattr(codec_runner, "CHUNK_RAMP", (1, 2, 4, 8, 12))
    runner = ModelRunner(fake_model("tiny"), 64, 2048)
    runner.warm_up()
    frames, wide, urgent = keys.values()
    assert len(frames) + len(wide) + len(urgent) <= 90
    for calls, most in ((wide, 128), (urgent, 32)):
        sizes = [n_rows * n_frames for _, n_rows, n_frames in calls]
        assert sizes == sorted(sizes, reverse=True), "the largest first: the others fit its memory"
        assert max(sizes) <= most
