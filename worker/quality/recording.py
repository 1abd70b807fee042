"""What the judges find in a voice's reference recording: its words, its speakers, its background. Warnings only.

A judge may be wrong, so a recording is never refused for what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from worker.quality.judges import Judges, Pcm, at_judges_rate
from worker.quality.readings import compared_units
from worker.quality.recogniser import RATE_HZ
from worker.quality.speaker import similarity
from worker.quality.text import align
from worker.voices.card import Card
from worker.voices.reference import Recording

# Differences over the longer of both: half or twice the transcript has 0.5.
MAX_WRONG = 0.4
# Thirds of one speaker's recording have at least 0.85, of two speakers' at most 0.67.
MIN_LIKENESS = 0.75
# Speech with noise 30 dB below it scores 2.95 and more, 20 dB below it 2.85 and less.
MIN_BACKGROUND = 2.8
MAX_SHOWN = 80


def recording_warnings(judges: Judges, card: Card, recording: Recording) -> Iterator[str]:
    """Sentences with problem and remedy, none for a good recording."""
    pcm = at_judges_rate(recording.audio, recording.rate_hz)
    if card.mode == "icl" and card.transcript is not None:
        yield from _words(judges, card, card.transcript, pcm)
    yield from _speakers(judges, pcm)
    background = judges.cleanness.score(pcm).background
    if background < MIN_BACKGROUND:
        yield (
            f"the recording has a noisy background (DNSMOS {background:.1f} of 5, good is {MIN_BACKGROUND} and more); "
            "record it in a quiet room"
        )


def _words(judges: Judges, card: Card, transcript: str, pcm: Pcm) -> Iterator[str]:
    """The recording's language is not in the card: the one of the card's that fits best counts."""
    best, recognised = 1e9, ""
    for language in card.languages:
        words = judges.recogniser.transcribe(pcm, language)
        expected, found = compared_units(transcript, language), compared_units(words, language)
        rate = len(align(expected, found).wrong) / max(len(expected), len(found), 1)
        if rate < best:
            best, recognised = rate, words
        if best <= MAX_WRONG:
            return
    yield (
        f"the recording may not say its transcript: {best:.0%} differs from what was recognised, "
        f"{_shortened(recognised)!r}; write down every word it says and nothing else"
    )


def _speakers(judges: Judges, pcm: Pcm) -> Iterator[str]:
    n = pcm.size // 3
    parts = [judges.speaker.embedding(pcm[at : at + n]) for at in range(0, 3 * n, n)] if n >= RATE_HZ else []
    voices = [part for part in parts if part is not None]
    likeness = min((similarity(one, other) for one, other in combinations(voices, 2)), default=1.0)
    if likeness < MIN_LIKENESS:
        yield (
            f"the recording may have more than one voice (likeness of its parts {likeness:.2f}, one voice has "
            f"{MIN_LIKENESS} and more); use one speaker in one mood"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
