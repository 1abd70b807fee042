"""Frames and codec run at once on a GPU: whatever they share is ordered, and what one frees the other has read.

Shown on fake tensors, with streams that are clocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.qwen.fake_gpu import DEVICE, fake_model, fake_tensors
from tests.qwen.fake_streams import Clock, Race, Watch, watch_rows, watched
from worker.engine.qwen import Sampling, codec_runner
from worker.engine.qwen.active_segment import ActiveSegment
from worker.engine.qwen.codec_runner import CodecRunner
from worker.engine.qwen.cuda import HostCopy, Replayer
from worker.engine.qwen.prompt import Prefill
from worker.engine.qwen.runner import ModelRunner

N_SLOTS, N_POSITIONS, WIDTH = 2, 64, 64


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(codec_runner, "CHUNK_RAMP", (1, 2))
    with fake_tensors(), torch.inference_mode(), watched(monkeypatch) as watch:
        yield watch


def a_runner(watch: Watch, is_warm: bool = True) -> ModelRunner:
    made = ModelRunner(fake_model("tiny"), N_SLOTS, N_POSITIONS)
    if is_warm:
        made.warm_up()
    watch.is_sealed = True
    watch_rows(watch, made.codec, pytest.MonkeyPatch())  # an object of its own, which needs no undoing
    return made


def on_gpu(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.zeros(shape, dtype=dtype, device=DEVICE)


def begin(made: ModelRunner, row: int, n_prompt: int) -> None:
    prefill = Prefill(on_gpu(n_prompt + 1, WIDTH), on_gpu(0, WIDTH), on_gpu(WIDTH))
    resumed = np.zeros((3, 16), dtype=np.uint16)
    segment = ActiveSegment(prefill, {}, Sampling().resolved({}), seed=1, max_frames=9, resumed=resumed)
    segment.slot = row
    made.begin([segment])


def speak(made: ModelRunner, voice: dict[str, Tensor]) -> None:
    """Two utterances, frames and chunks of all kinds, captured and not, with the codec always behind."""
    flying: list[HostCopy] = []
    for slot in range(N_SLOTS):
        made.codec.reset(slot, voice if slot else {})
        begin(made, slot, 20 + 12 * slot)
    for n in (1, 2, 3, 1):
        for margins in (False, n == 3):
            rows = list(reversed(range(N_SLOTS)))[:n]
            made.frame(rows, [40] * len(rows), margins)
            flying.append(HostCopy(made.arena.codes[:n]))
        codes = np.zeros((min(n, N_SLOTS), n, 16), dtype=np.uint16)
        flying.append(made.codec.decode(range(min(n, N_SLOTS)), codes, is_urgent=n > 1))
        flying.pop(0).wait()
    for fetch in flying:
        fetch.wait()


def a_voice(watch: Watch, made: ModelRunner) -> dict[str, Tensor]:
    codes = on_gpu(30, 16, dtype=torch.int64)
    watch.keep(codes)
    state: dict[str, Tensor] = made.codec.state_of(codes)
    for tensor in state.values():
        watch.keep(tensor)
    return state


def uploaded(made: ModelRunner, voice: dict[str, Tensor]) -> dict[str, Tensor]:
    """As of the cache: from the host, and brought to the engine's dtype."""
    return {name: made.upload(np.zeros(tensor.shape, np.float32)).to(tensor.dtype) for name, tensor in voice.items()}


def test_frames_and_codec_do_not_race(watch: Watch) -> None:
    made = a_runner(watch)
    voice = a_voice(watch, made)
    for tensor in voice.values():
        (tensor + 1).cpu().numpy()  # into the cache
    speak(made, voice)
    speak(made, uploaded(made, voice))


def test_a_voice_is_made_on_a_stream_of_its_own_beside_both(watch: Watch) -> None:
    made = a_runner(watch)
    speak(made, {})
    with torch.cuda.stream(Clock()):  # type: ignore[arg-type]
        made.codec.state_of(on_gpu(30, 16, dtype=torch.int64))
    speak(made, {})


def test_without_graphs_they_do_not_race_either(watch: Watch) -> None:
    speak(a_runner(watch, is_warm=False), {})


def test_the_watch_sees_a_state_that_is_still_on_its_way(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_runner(watch, is_warm=False)
    voice = uploaded(made, a_voice(watch, made))
    monkeypatch.setattr(CodecRunner, "_follow_current", lambda codec, lane: None)
    with pytest.raises(Race, match="at the same time"):
        speak(made, voice)


def test_the_watch_sees_memory_that_may_be_given_away(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    made = a_runner(watch, is_warm=False)
    voice = uploaded(made, a_voice(watch, made))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    with pytest.raises(Race, match="given away"):
        speak(made, voice)


def test_the_watch_sees_a_host_that_does_not_wait(watch: Watch) -> None:
    fetch = HostCopy(on_gpu(3))
    with pytest.raises(Race, match="not there yet"):
        fetch._host.numpy()
    fetch.wait()


def test_two_replayers_may_run_at_once_and_one_may_not(watch: Watch) -> None:
    first, second, x, y = Replayer(DEVICE), Replayer(DEVICE), on_gpu(3), on_gpu(3)
    first.capture(("x",), lambda: x * 1)
    first.capture(("y",), lambda: y * 1)
    second.capture(("y",), lambda: y * 1)
    torch.cuda.synchronize()
    first.run(("x",), lambda: x)
    with torch.cuda.stream(Clock()):  # type: ignore[arg-type]
        second.run(("y",), lambda: y)
        with pytest.raises(Race, match="at the same time"):
            first.run(("y",), lambda: y)


def test_a_graphs_result_is_gone_when_another_one_has_run(watch: Watch) -> None:
    replayer, x, y = Replayer(DEVICE), on_gpu(3), on_gpu(3)
    replayer.capture(("x",), lambda: x * 1)
    replayer.capture(("y",), lambda: y * 1)
    result = replayer.run(("x",), lambda: x)
    assert result is not None
    result + 1
    replayer.run(("y",), lambda: y)
    with pytest.raises(Race, match="another graph"):
        result + 1
