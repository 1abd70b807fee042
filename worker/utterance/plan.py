"""The speech plan: a job's text as segments for the engine."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.jobs import MAX_SEED, Job
from worker.audio.encode import bytes_per_sample
from worker.engine.base import FRAME_RATE_HZ, Resume, Segment
from worker.stream.progress import Progress
from worker.text import SegmentText, clean, frame_budget, join, plan
from worker.text.language import language_of
from worker.voices.card import Card


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """A job, its voice, its language and the texts of its segments, which depend on job and card alone.

    texts: empty for a text with nothing to speak. has_codes: the engine resumes a segment from its codes.
    """

    job: Job
    voice: Card
    language: str
    has_codes: bool
    texts: tuple[SegmentText, ...]

    @classmethod
    def of(cls, job: Job, voice: Card, has_codes: bool) -> SpeechPlan:
        """Choose the language of a job that names none, and split its text."""
        text = job.text or ""
        language = job.language or language_of(clean(text), voice.languages)
        return cls(job, voice, language, has_codes, plan(text, language, voice.lexicon, voice.actions))

    def text_of(self, n_segments: int) -> str:
        """The text of the first segments, as the client wrote it."""
        return join(self.texts[:n_segments])

    def pause_ms(self, index: int) -> int | None:
        """The silence after the index-th segment; None for the last."""
        return None if index == len(self.texts) - 1 else self.voice.pauses.after(self.texts[index].written)

    def segment(self, index: int, progress: Progress) -> Segment:
        """The index-th segment for the engine, with what earlier attempts delivered of it."""
        text = self.texts[index].spoken
        max_frames = frame_budget(text, self.language)
        return Segment(
            text=text,
            language=self.language,
            voice=self.voice,
            seed=(self.job.seed + index) & MAX_SEED,
            max_frames=max_frames,
            temperature=self.job.temperature,
            resume=self._resume(index, progress, max_frames),
        )

    def _resume(self, index: int, progress: Progress, max_frames: int) -> Resume | None:
        last = progress.chunks[-1] if progress.chunks else None
        if last is None or index > last.segment:
            return None
        if self.has_codes:  # without its codes a segment is generated again, with the same seed
            codes = progress.codes_of(index)
            return None if codes is None else Resume(len(codes), codes)
        if index < last.segment:
            return Resume(max_frames)
        frame_bytes = bytes_per_sample(self.job.encoding) * self.job.sample_rate / FRAME_RATE_HZ
        return Resume(last.first_frame + round(last.n_bytes / frame_bytes))
