"""The figures of `bench quality`: judges' scores and sample-based figures of every sentence, and each language's sums.

Words are judged only where there are any: above UNINTELLIGIBLE the recogniser guesses, as it does for a model with
random weights, and the report states that instead of a rate to compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.bench.quality_peers import Performance, Take, TakeOver
from worker.engine.base import SAMPLE_RATE_HZ
from worker.quality.judges import Judgement, Judges
from worker.quality.readings import compared_units, unit_name
from worker.quality.samples import SampleReport, examine
from worker.quality.speaker import similarity
from worker.quality.text import Alignment, align

UNINTELLIGIBLE = 0.8  # of all units wrong
Report = dict[str, Any]
Embedding = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class JudgedSentence:
    """A take with all that was found in it."""

    take: Take
    samples: SampleReport
    judgement: Judgement
    words: Alignment


def language_report(judges: Judges, language: str, performance: Performance, reference: Embedding | None) -> Report:
    """Judge one peer's sentences in one language. reference: the embedding of the card's recording."""
    judged = [one for take in performance.takes if (one := _judged(judges, language, take)) is not None]
    unspoken = [{"text": take.text, "problem": take.problem} for take in performance.takes if take.problem is not None]
    report: Report = {"sentences": len(performance.takes), "spoken": len(judged), "unspoken": unspoken}
    if judged:
        models = sorted({one.take.model for one in judged if one.take.model is not None})
        report |= _sums(judged, reference) | {"compared": unit_name(language), "models": models}
        report["each"] = [_sentence(one, reference) for one in judged]
    report["take_over"] = None if performance.take_over is None else _take_over(performance.take_over)
    return report


def _judged(judges: Judges, language: str, take: Take) -> JudgedSentence | None:
    judgement = judges.judge(take.pcm, SAMPLE_RATE_HZ, language)
    if judgement is None:
        return None
    words = align(compared_units(take.text, language), compared_units(judgement.words, language))
    return JudgedSentence(take, examine(take.pcm, SAMPLE_RATE_HZ, take.seams), judgement, words)


def _sums(judged: Sequence[JudgedSentence], reference: Embedding | None) -> Report:
    speakers = [one.judgement.speaker for one in judged if one.judgement.speaker is not None]
    samples = [one.samples for one in judged]
    firsts = [one.take.first_audible_ms for one in judged if one.take.first_audible_ms is not None]
    sound_s = sum(one.sound_s for one in samples)
    return {
        "words": _words(judged),
        "mos": _spread(one.judgement.mos for one in judged),
        "dnsmos": {
            name: _spread(getattr(one.judgement.cleanness, name) for one in judged)
            for name in ("speech", "background", "overall")
        },
        "similarity": {
            "to_reference": _spread(similarity(reference, one) for one in speakers) if reference is not None else None,
            "between_sentences": _between(speakers),
        },
        "units_per_s": round(sum(one.words.n_expected for one in judged) / sound_s, 2) if sound_s else None,
        "silence_ms": {
            name: {"median": round(median(values), 1), "max": round(max(values), 1)}
            for name in ("leading", "trailing", "longest_pause")
            for values in [[getattr(one, f"{name}_ms") for one in samples]]
        },
        "clicks": sum(len(one.clicks) for one in samples),
        "holes": sum(len(one.holes) for one in samples),
        "clipped": sum(one.peak >= 1 for one in samples),
        "first_audible_ms": {"median": median(firsts), "max": max(firsts)} if firsts else None,
        "audio_s": round(sum(one.take.pcm.size for one in judged) / SAMPLE_RATE_HZ, 2),
        "took_s": round(sum(one.take.took_s for one in judged), 2),
    }


def _words(judged: Sequence[JudgedSentence]) -> Report:
    n_expected = sum(one.words.n_expected for one in judged)
    wrong = Counter(pair for one in judged for pair in one.words.wrong)
    rate = sum(wrong.values()) / max(n_expected, 1)
    if rate >= UNINTELLIGIBLE:
        reason = (
            f"{sum(wrong.values())} errors in {n_expected} units: this speech has no words, as that of a model with "
            "random weights or in another language"
        )
        return {"judged": False, "reason": reason, "error_rate": None}
    return {
        "judged": True,
        "error_rate": round(rate, 4),
        "wrong": [
            {"expected": pair.expected, "recognised": pair.recognised, "times": times}
            for pair, times in wrong.most_common()
        ],
    }


def _sentence(one: JudgedSentence, reference: Embedding | None) -> Report:
    speaker = one.judgement.speaker
    has_both = reference is not None and speaker is not None
    return {
        "text": one.take.text,
        "recognised": one.judgement.words,
        "error_rate": round(one.words.rate, 4),
        "wrong": [pair._asdict() for pair in one.words.wrong],
        "mos": round(one.judgement.mos, 2),
        "dnsmos": {name: round(score, 2) for name, score in asdict(one.judgement.cleanness).items()},
        "similarity": round(similarity(reference, speaker), 3) if has_both else None,  # type: ignore[arg-type]
        "finish": one.take.finish,
        **{name: _rounded(value) for name, value in asdict(one.samples).items()},
    }


def _take_over(found: TakeOver) -> Report:
    """Whether resumed speech equals the whole, and the faults of the whole at its segments' borders, by samples."""
    samples = examine(found.whole.pcm, SAMPLE_RATE_HZ, found.whole.seams)
    return {
        "segments": found.n_segments,
        "resumed_after_chunks": list(found.cuts),
        "equal": all(at is None for at in found.different_at),
        "different_at": list(found.different_at),
        "clicks_at_seams": sum(at in samples.at_seams for at in samples.clicks),
        "holes_at_seams": sum(at in samples.at_seams for at in samples.holes),
        "longest_pause_ms": samples.longest_pause_ms,
    }


def _between(speakers: Sequence[Embedding]) -> Report | None:
    """The similarity of every pair of sentences."""
    pairs = [similarity(one, other) for n, one in enumerate(speakers) for other in speakers[:n]]
    return _spread(pairs) if pairs else None


def _spread(values: Iterable[float]) -> Report | None:
    listed = list(values)
    return {"mean": round(fmean(listed), 3), "min": round(min(listed), 3)} if listed else None


def _rounded(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
