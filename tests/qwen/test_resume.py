"""An utterance that was left after any frame goes on as if it had never stopped, and its audio has no seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import checkpoint
from tests.qwen.exact import FRAME_SAMPLES, GREEDY, SIXTY, Ties, decoded, joined, sixteen_bits, upstream_codes, voices
from worker.engine.qwen import EngineError, Finish, QwenEngine, Sampling, SpeechRequest, SpeechResult
from worker.engine.qwen.codec.decoder import Codec

N_FRAMES = 10
WARM = Sampling(temperature=1.1, top_k=0, top_p=0.95, repetition_penalty=1.5, predictor_top_k=20)


def loaded(folder: Path, dtype: str) -> QwenEngine:
    return QwenEngine.load(str(folder), device="cpu", dtype=dtype, slots=8)


def every_mode(engine: QwenEngine) -> list[SpeechRequest]:
    """icl and x_vector, greedy and sampled, whole and per-frame text; some texts are read before they are spoken."""
    icl, x_vector, _ = voices(engine)
    texts = {(True, True): "ab", (True, False): "Whole and then said.", (False, True): SIXTY, (False, False): "abcd"}
    return [
        SpeechRequest(texts[whole_text, greedy], voice, "en", GREEDY if greedy else WARM, 7, N_FRAMES, whole_text)
        for voice in (icl, x_vector)
        for greedy in (True, False)
        for whole_text in (True, False)
    ]


@pytest.fixture(scope="module")
def soon_ending(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint most of whose utterances end within a dozen frames, many as soon as they may."""
    folder = tmp_path_factory.mktemp("soon_ending")
    checkpoint.write("tiny", folder, eos_boost=4)
    return folder


@pytest.fixture(scope="module")
def engine64(tiny: Path) -> QwenEngine:
    return loaded(tiny, "float64")


@pytest.fixture(scope="module")
def upstream64(tiny: Path) -> Any:
    from qwen_tts import Qwen3TTSModel

    return Qwen3TTSModel.from_pretrained(tiny, dtype=torch.float64)


@pytest.fixture(scope="module")
def whole64(engine64: QwenEngine) -> tuple[list[SpeechRequest], list[SpeechResult]]:
    utterances = every_mode(engine64)
    return utterances, engine64.synthesize(utterances)


@pytest.fixture(scope="module")
def whole32(tiny: Path) -> tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]]:
    engine = loaded(tiny, "float32")
    utterances = every_mode(engine)
    return engine, utterances, engine.synthesize(utterances)


def test_the_codes_are_those_of_never_having_stopped(
    whole32: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]], ties: Ties
) -> None:
    engine, utterances, speeches = whole32
    for k in range(N_FRAMES):
        again = [replace(u, resume=s.codes[:k].astype(np.uint16)) for u, s in zip(utterances, speeches, strict=True)]
        for n, (speech, rest) in enumerate(zip(speeches, engine.synthesize(again), strict=True)):
            assert len(rest.codes) == N_FRAMES - k
            assert rest.finish is Finish.LENGTH
            ties.same(joined(speech.codes[:k], rest), speech.codes, f"utterance {n} after {k} frames")


@pytest.mark.parametrize("k", [0, 1, 5, N_FRAMES - 1])
def test_the_audio_is_exactly_one_decode_of_the_joined_codes(
    engine64: QwenEngine, upstream64: Any, whole64: tuple[list[SpeechRequest], list[SpeechResult]], k: int
) -> None:
    utterances, speeches = whole64
    rests = engine64.synthesize([replace(u, resume=s.codes[:k]) for u, s in zip(utterances, speeches, strict=True)])
    for utterance, speech, rest in zip(utterances, speeches, rests, strict=True):
        assert np.array_equal(rest.codes, speech.codes[k:])
        pcm = np.concatenate((speech.pcm[: k * FRAME_SAMPLES], rest.pcm))
        one = decoded(upstream64, utterance.voice, speech.codes)
        assert np.array_equal(sixteen_bits(pcm), sixteen_bits(one))


def test_in_float32_too_the_audio_is_one_decode_of_the_codes_bit_by_bit(
    whole32: tuple[QwenEngine, list[SpeechRequest], list[SpeechResult]], upstream: Any
) -> None:
    """One decode by the same codec, alone: upstream's kernels round in other places, by a step at most."""
    engine, utterances, speeches = whole32
    codec = Codec(upstream.model.speech_tokenizer.model.decoder, 1)
    resumed = [replace(u, resume=s.codes[:k]) for k, u, s in zip(range(1, 9), utterances, speeches, strict=True)]
    for k, (speech, rest) in enumerate(zip(speeches, engine.synthesize(resumed), strict=True), 1):
        reference = resumed[k - 1].voice.codes
        codes = torch.from_numpy(np.concatenate((speech.codes[:k], rest.codes)).astype(np.int64))
        codec.reset(0, None if reference is None else codec.state_of(reference))
        one = codec.decode(codes[None], torch.tensor([0]))[0].numpy()
        assert np.array_equal(np.concatenate((speech.pcm[: k * FRAME_SAMPLES], rest.pcm)), one)


@pytest.mark.parametrize("chunk_frames", [(1,), (3,), ()])
def test_a_stream_that_was_cut_anywhere_is_gone_on_with(
    engine64: QwenEngine,
    upstream64: Any,
    whole64: tuple[list[SpeechRequest], list[SpeechResult]],
    chunk_frames: tuple[int, ...],
) -> None:
    """Three times: each time with what was heard, by then more and more of it resumed."""
    utterance, speech = whole64[0][3], whole64[1][3]
    codes, pcm = speech.codes[:0], speech.pcm[:0]
    finish = None
    for _ in range(N_FRAMES):
        event = next(stream := engine64.stream([replace(utterance, resume=codes)], chunk_frames=chunk_frames))
        stream.close()
        codes, pcm, finish = np.concatenate((codes, event.codes)), np.concatenate((pcm, event.pcm)), event.finish
        if finish is not None:
            break
    assert finish is Finish.LENGTH
    assert np.array_equal(codes, speech.codes)
    assert np.array_equal(sixteen_bits(pcm), sixteen_bits(decoded(upstream64, utterance.voice, codes)))


def test_a_long_one_is_resumed_beyond_the_codecs_window(engine64: QwenEngine, upstream64: Any) -> None:
    voice = voices(engine64)[1]
    utterance = SpeechRequest(SIXTY, voice, "auto", WARM, 8, max_frames=90, whole_text=False)
    [speech] = engine64.synthesize([utterance])
    [rest] = engine64.synthesize([replace(utterance, resume=speech.codes[:83])])
    assert np.array_equal(rest.codes, speech.codes[83:])
    pcm = decoded(upstream64, voice, speech.codes)[83 * FRAME_SAMPLES :]
    assert np.array_equal(sixteen_bits(rest.pcm), sixteen_bits(pcm))


def test_resuming_at_max_frames_gives_no_frames_and_length(
    engine64: QwenEngine, whole64: tuple[list[SpeechRequest], list[SpeechResult]]
) -> None:
    utterances, speeches = whole64
    again = [replace(u, resume=s.codes) for u, s in zip(utterances, speeches, strict=True)]
    for rest in engine64.synthesize([again[0], utterances[1], *again]):
        assert rest.finish is Finish.LENGTH
        assert (rest.codes.shape, rest.pcm.shape) in {((0, 16), (0,)), ((N_FRAMES, 16), (N_FRAMES * FRAME_SAMPLES,))}
    [event] = engine64.stream(again[:1])
    assert (event.codes.shape, event.pcm.shape, event.finish) == ((0, 16), (0,), Finish.LENGTH)


def test_resuming_before_and_at_the_natural_end_ends_there_too(soon_ending: Path) -> None:
    engine = loaded(soon_ending, "float64")
    utterances = [replace(utterance, max_frames=24) for utterance in every_mode(engine)]
    ended = [
        (utterance, speech)
        for utterance, speech in zip(utterances, engine.synthesize(utterances), strict=True)
        if speech.finish is Finish.STOP
    ]
    assert len({len(speech.codes) for _, speech in ended}) >= 3
    for n_before_end in (0, 1):
        some = [replace(u, resume=s.codes[: len(s.codes) - n_before_end]) for u, s in ended]
        for (_, speech), rest in zip(ended, engine.synthesize(some), strict=True):
            assert rest.finish is Finish.STOP
            assert np.array_equal(rest.codes, speech.codes[len(speech.codes) - n_before_end :])
            assert len(rest.pcm) == n_before_end * FRAME_SAMPLES
    utterance, speech = ended[0]
    [at_both] = engine.synthesize([replace(utterance, resume=speech.codes, max_frames=len(speech.codes))])
    assert (len(at_both.codes), at_both.finish) == (0, Finish.LENGTH)


def test_the_end_stays_forbidden_for_the_first_two_frames_of_the_whole(soon_ending: Path, ties: Ties) -> None:
    """As upstream has it; a frame after resumed ones is none of the first two any more."""
    from qwen_tts import Qwen3TTSModel

    engine = loaded(soon_ending, "float32")
    voice = voices(engine)[1]
    utterances = [SpeechRequest(text, voice, "English", GREEDY, 1, max_frames=4) for text in "abcdefgh"]
    speeches = engine.synthesize(utterances)
    upstream = Qwen3TTSModel.from_pretrained(soon_ending)
    for speech, codes in zip(speeches, upstream_codes(upstream, utterances), strict=True):
        ties.same(speech, codes, "ended early")
    assert [len(speech.codes) for speech in speeches].count(2) >= 2
    for k in (1, 2):
        some = [replace(u, resume=s.codes[:k]) for u, s in zip(utterances, speeches, strict=True)]
        for speech, rest in zip(speeches, engine.synthesize(some), strict=True):
            assert np.array_equal(rest.codes, speech.codes[k:])
            assert rest.finish is speech.finish


def test_codes_that_cannot_be_resumed_are_refused(
    engine64: QwenEngine, whole64: tuple[list[SpeechRequest], list[SpeechResult]]
) -> None:
    utterance, codes = whole64[0][0], whole64[1][0].codes
    wrongs: list[Any] = [codes[:, :15], codes[0], codes + 2048, codes - 2048, codes.astype(np.float32)]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="codes"):
            replace(utterance, resume=wrong)
    with pytest.raises(EngineError, match="do not fit"):
        engine64.synthesize([replace(utterance, max_frames=4, resume=codes[:5])])
