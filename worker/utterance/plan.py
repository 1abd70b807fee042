"""The speech plan: a job's text as segments for the engine."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.jobs import MAX_SEED, Job
from worker.audio.encode import bytes_per_sample
from worker.engine.base import FRAME_RATE_HZ, Engine, Resume, Segment
from worker.stream.progress import Progress
from worker.text import Lexicon, SegmentText, clean, frame_budget, plan
from worker.text.language import language_of
from worker.text.open_text import OpenText
from worker.utterance.rows import GrowingRows, KnownRows, LongRows, TextRows
from worker.voices.card import Card


@dataclass(frozen=True, slots=True)
class SpeechPlan:
    """A job, its voice, and the rows of its text, which depend on text and card alone.

    has_codes: the engine resumes a segment from its codes. reads_along: it reads the text while it speaks it. rows:
    none for a text with nothing to speak. text: takes the pieces of a text that is still being written, else None.
    """

    job: Job
    voice: Card
    has_codes: bool
    reads_along: bool
    rows: TextRows
    text: OpenText | None = None

    @classmethod
    def of(cls, job: Job, voice: Card, engine: Engine) -> SpeechPlan:
        """Choose the language of a job that names none, and split its text."""
        reads_along = engine.takes_open_text and voice.text == "streaming"
        if job.text is None:
            text = OpenText(job.language, voice.languages, voice.lexicon, voice.actions)
            rows = LongRows(text) if reads_along else GrowingRows(text, Lexicon(voice.lexicon), voice.languages)
            return cls(job, voice, engine.has_codes, reads_along, rows, text)
        language = job.language or language_of(clean(job.text), voice.languages)
        if not reads_along:
            known = KnownRows(plan(job.text, language, voice.lexicon, voice.actions), language)
            return cls(job, voice, engine.has_codes, reads_along, known)
        text = OpenText(language, voice.languages, voice.lexicon, voice.actions)
        text.feed(job.text)
        text.end()
        return cls(job, voice, engine.has_codes, reads_along, LongRows(text))

    @property
    def language(self) -> str | None:
        """Of the speech; None while an open text without one has not shown its script."""
        return self.job.language or self.rows.language

    @property
    def texts(self) -> tuple[SegmentText, ...]:
        """The texts of the rows that are known whole."""
        found: list[SegmentText] = []
        while (row := self.rows.whole(len(found))) is not None:
            found.append(row)
        return tuple(found)

    @property
    def is_silent(self) -> bool:
        """True when it is known that there is nothing to speak."""
        return self.rows.follows(0) is False

    def resume(self, progress: Progress) -> None:
        """Keep the texts of segments that earlier attempts began, whatever is left of the text's stream."""
        if isinstance(self.rows, GrowingRows):
            self.rows.resume(progress.segments)

    def written(self, index: int) -> str:
        """The index-th segment's text up to now, as the client wrote it."""
        row = self.rows.whole(index)
        return self.rows.begun(index) or "" if row is None else row.written

    def is_decided(self, index: int) -> bool:
        """Whether the index-th segment's text is complete, and whether another one follows is known."""
        return self.rows.whole(index) is not None and self.rows.follows(index + 1) is not None

    def pause_ms(self, index: int) -> int | None:
        """The silence after the index-th segment, which is decided; None for the last."""
        return self.voice.pauses.after(self.written(index)) if self.rows.follows(index + 1) else None

    def segment(self, index: int, progress: Progress) -> Segment:
        """The index-th segment for the engine, with what earlier attempts delivered of it."""
        text = self.rows.begun(index) or ""
        language = self.language or self.voice.languages[0]
        max_frames = frame_budget(text, language)
        return Segment(
            text=text,
            language=language,
            voice=self.voice,
            seed=(self.job.seed + index) & MAX_SEED,
            max_frames=max_frames,
            temperature=self.job.temperature,
            resume=self._resume(index, progress, max_frames),
            is_open=self.reads_along and self.rows.whole(index) is None,
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
