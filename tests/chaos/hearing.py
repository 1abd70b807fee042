"""Checks one session's stream against the contract, entry by entry; every violation is a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from schemas.errors import ErrorCode, JobError, WireError
from schemas.messages import Audio, Begin, Cancelled, Complete, Error, Message, SegmentStart
from schemas.wire import CODE_FRAME_BYTES, Entry, pack, read_entry, unpack_codes
from tests.chaos.findings import Findings, Kind
from tests.chaos.heard import DEFAULTS, Heard, audio_of, difference, id_of, numbers_of
from tests.chaos.lead import SLACK_S
from tests.chaos.ledger import PLANTED, Ledger, Published
from tests.chaos.plan import TEXT_WAIT_S

if TYPE_CHECKING:
    from tests.chaos.undisturbed import Expected


class Session:
    """One session's stream. What is missing or wrong is said once: the next entry is held against what came.

    letters: job id -> why it is a dead letter, which a job that is excepted may be.
    """

    def __init__(
        self,
        session_id: str,
        jobs: Sequence[Published],
        ledger: Ledger,
        findings: Findings,
        letters: Mapping[str, str],
    ) -> None:
        self._session_id = session_id
        self._excepted = ledger.excepted
        self._letters = letters
        self._may_overtake = session_id in ledger.unordered
        self._heard = {job.job_id: Heard(job) for job in jobs if not self._is_spoilt(job.job_id)}
        self._cancelled = max(map(numbers_of, ledger.cancels.get(session_id, [])), default=(-1, 0))
        self._found = findings
        self._order: list[str] = []  # of the jobs, as first heard
        self._speaking: Heard | None = None
        self._epoch: int | None = None  # of what is spoken; None before the next begin
        self._at = self._before = (-1, 0)
        self._here = self._type = self._type_before = ""
        self._cut = (-1, 0)  # the highest id that a cancel on the stream named

    def hear(self, stream_id: bytes, raw: Mapping[bytes, bytes]) -> None:
        if PLANTED in raw or self._is_spoilt(raw.get(b"job_id", b"").decode(errors="replace")):
            return
        self._here = stream_id.decode()
        self._before, self._at = self._at, numbers_of(self._here)
        if self._at <= self._before:
            self._say("broken", None, f"{self._here} comes after {id_of(self._before)}")
        try:
            entry = read_entry(raw)
        except WireError as error:
            self._say("broken", None, f"{self._here} cannot be read: {error}")
            return
        self._type_before, self._type = self._type, entry.type
        if entry.message is None:
            self._hear_cancel(entry)
        elif (heard := self._heard.get(entry.job_id)) is None:
            self._say("broken", None, f"{entry.type} at {self._here}, of a job nobody published: {entry.job_id}")
        else:
            self._hear_job(heard, entry, raw[b"data"])

    def _is_spoilt(self, job_id: str) -> bool:
        return job_id in self._excepted and self._excepted[job_id].is_spoilt

    def _may_vanish(self, heard: Heard | None) -> bool:
        """Without an end on the stream: also one that may fail and is a dead letter."""
        excepted = None if heard is None else self._excepted.get(heard.job.job_id)
        if heard is None or excepted is None:
            return False
        return excepted.may_vanish or heard.job.job_id in self._letters

    def _say(self, kind: Kind, heard: Heard | None, what: str) -> None:
        where = self._session_id if heard is None else f"{self._session_id} {heard.job.job_id}"
        self._found.kinds[kind].append(f"{where}: {what}")

    def _say_all(self, kind: Kind, heard: Heard, sentences: Iterable[str]) -> None:
        for what in sentences:
            self._say(kind, heard, what)

    def _hear_cancel(self, entry: Entry) -> None:
        self._epoch = None
        if entry.type != "cancel" or entry.upto is None:
            self._say("broken", None, f"{self._here} is neither message nor cancel: {entry.type!r}")
            return
        self._cut = max(self._cut, numbers_of(entry.upto))

    def _hear_job(self, heard: Heard, entry: Entry, body: bytes) -> None:
        message = entry.message
        assert message is not None
        if message.session_id != self._session_id:
            self._say("broken", heard, f"{self._here} names the session {message.session_id}")
        if pack(message) != body:
            self._say("broken", heard, f"the body of {self._here} is not written as the contract has it")
        if entry.at is None:
            self._say("broken", heard, f"{entry.type} at {self._here} has no at")
        if self._is_repeat(heard, entry, body):
            heard.repeats.add(entry.entry)
            self._found.repeated += 1
            return
        if entry.entry != (heard.entry_id or entry.entry):
            self._say("broken", heard, f"{self._here} is of {entry.entry}, those before of {heard.entry_id}")
        heard.entry_id = entry.entry
        if entry.job_id not in self._order:
            self._order.append(entry.job_id)
        if heard.end is not None:
            self._say("duplicated", heard, f"{entry.type} at {self._here}, after its end by {heard.end.type}")
        elif self._speaking not in (None, heard) and not self._may_vanish(self._speaking):
            self._say("broken", heard, f"{entry.type} at {self._here} while {self._speaking_id} is spoken")
        if isinstance(message, Begin):
            self._hear_begin(heard, entry, message)
        elif isinstance(message, Audio):
            self._hear_audio(heard, entry, message)
        elif isinstance(message, SegmentStart):
            self._follows(heard, entry)
            self._say_all("broken", heard, heard.segments.hear(message, heard.delivered))
        else:
            self._hear_end(heard, entry, message)
            heard.end_body = heard.end_body or body
        heard.last_at = entry.at or 0

    def _is_repeat(self, heard: Heard, entry: Entry, body: bytes) -> bool:
        """Of a job that was published again: a copy of its end, one for each such entry."""
        if heard.end is None or (entry.type, body) != (heard.end.type, heard.end_body):
            return False
        is_new = entry.entry not in {heard.entry_id, *heard.repeats}
        return is_new and len(heard.repeats) + 1 < heard.job.n_sent

    @property
    def _speaking_id(self) -> str:
        return "nothing" if self._speaking is None else self._speaking.job.job_id

    def _hear_begin(self, heard: Heard, entry: Entry, message: Begin) -> None:
        if self._at[1]:
            self._say("broken", heard, f"begins at {self._here}, and not with the first entry of an epoch")
        if self._cut >= numbers_of(entry.entry):
            self._say("broken", heard, f"begins at {self._here}, after it was cancelled up to {id_of(self._cut)}")
        if heard.delivered and not message.resumed_at:
            self._say("duplicated", heard, f"begins from its start at {self._here}, after {heard.delivered} samples")
        elif not message.resumed_at == entry.delivered == heard.delivered:
            says = f"resumed_at {message.resumed_at}, delivered {entry.delivered}"
            self._say("broken", heard, f"begins at {self._here} with {says}, after {heard.delivered} samples")
        resumed_by = ("codes" if any(heard.n_frames.values()) else "regenerated") if message.resumed_at else None
        if message.resumed_by != resumed_by:
            self._say("broken", heard, f"begins at {self._here}, resumed_by {message.resumed_by}, not {resumed_by}")
        told = {"voice": message.voice, "encoding": message.encoding, "sample_rate": str(message.sample_rate)}
        if told != (asked := {name: heard.asked(name, DEFAULTS.get(name, told[name])) for name in told}):
            self._say("broken", heard, f"begins at {self._here} with {told}, and was to have {asked}")
        if heard.was_fruitless(message):
            self._found.reserved.append((heard.last_at, entry.at or 0))
        if heard.begins:
            is_same = message.attempt == heard.begins[-1].attempt and self._type_before in ("cancel", "begin")
            self._found.reopened += is_same
            self._found.takeovers += not is_same
            self._found.takeovers_of_held += not is_same and heard.is_held
        heard.begins.append(message)
        heard.delivered = message.resumed_at
        self._say_all("broken", heard, heard.segments.follow())
        heard.lead.begin(message.attempt, entry.at or 0)
        self._speaking, self._epoch = heard, self._at[0]

    def _hear_audio(self, heard: Heard, entry: Entry, message: Audio) -> None:
        self._follows(heard, entry)
        if message.seq < heard.next_seq:
            self._say("duplicated", heard, f"chunk {message.seq} comes again at {self._here}")
        elif message.seq > heard.next_seq:
            self._say("gaps", heard, f"chunk {message.seq} comes at {self._here}, not {heard.next_seq}")
        if message.pos != heard.delivered:
            self._say("gaps", heard, f"chunk {message.seq} begins at {message.pos}, after {heard.delivered} samples")
        n_samples, n_odd = divmod(len(message.data), heard.sample_type.itemsize)
        if n_odd:
            self._say("broken", heard, f"chunk {message.seq} has {len(message.data)} bytes: no whole samples")
        if entry.delivered != message.pos + n_samples:
            says = f"delivered {entry.delivered}, and ends at {message.pos + n_samples}"
            self._say("gaps", heard, f"chunk {message.seq} says {says}")
        if heard.chunks and audio_of(heard.chunks[-1]).is_final:
            self._say("gaps", heard, f"chunk {message.seq} comes after the final one")
        self._hear_codes(heard, message.seq, entry.codes, n_samples)
        self._hear_lead(heard, entry, n_samples)
        heard.next_seq, heard.delivered = message.seq + 1, message.pos + n_samples
        heard.chunks.append(entry)

    def _hear_lead(self, heard: Heard, entry: Entry, n_samples: int) -> None:
        if not n_samples or entry.at is None:
            return
        lead_s = heard.lead.hear(entry.at, n_samples / int(heard.asked("sample_rate", DEFAULTS["sample_rate"])))
        if heard.limit_s:
            self._found.most_ahead_s = max(self._found.most_ahead_s, lead_s)
        if heard.limit_s and lead_s > heard.limit_s + SLACK_S:
            what = f"{self._here} was written {lead_s:.2f} s before its listener, of {heard.limit_s}"
            self._found.far_ahead.append((entry.at, f"{self._session_id} {heard.job.job_id}: {what}"))

    def _hear_codes(self, heard: Heard, seq: int, raw: bytes | None, n_samples: int) -> None:
        try:
            segment, first_frame, codes = unpack_codes(raw or b"")
        except WireError as error:
            self._say("broken", heard, f"the codes of chunk {seq} cannot be read: {error}")
            return
        self._say_all("broken", heard, heard.segments.hear_audio(segment, n_samples > 0))
        if segment < max(heard.n_frames, default=0):
            self._say("broken", heard, f"chunk {seq} goes back to segment {segment}")
        n_known = heard.n_frames.setdefault(segment, 0)
        if codes and first_frame != n_known:
            kind: Kind = "gaps" if first_frame > n_known else "duplicated"
            says = f"from frame {first_frame} on, after {n_known} frames"
            self._say(kind, heard, f"chunk {seq} has codes of segment {segment} {says}")
        if codes:
            heard.n_frames[segment] = first_frame + len(codes) // CODE_FRAME_BYTES

    def _follows(self, heard: Heard, entry: Entry) -> None:
        """An entry of an epoch under way is the one after the last, and of the job that opened the epoch."""
        if self._speaking is not heard or self._at[0] != self._epoch:
            self._say("broken", heard, f"{entry.type} at {self._here}, outside of what its begin opened")
        elif self._at[1] != self._before[1] + 1:
            self._say("gaps", heard, f"{entry.type} at {self._here}, after {id_of(self._before)}")

    def _hear_end(self, heard: Heard, entry: Entry, message: Complete | Cancelled | Error) -> None:
        if isinstance(message, Complete):
            self._hear_complete(heard, entry, message)
        elif self._at[0] == self._epoch or self._at[1]:
            self._follows(heard, entry)
        self._say_all("broken", heard, heard.segments.follow())
        if self._at[0] != self._epoch:  # of an attempt that did not begin
            self._found.reserved.append((heard.last_at, entry.at or 0))
        spoken = None if isinstance(message, Error) else message.text_spoken
        if spoken not in (None, heard.segments.text):
            says = f"{spoken!r} was spoken, and the segments are {heard.segments.text!r}"
            self._say("broken", heard, f"{entry.type} says {says}")
        n_samples = entry.delivered if isinstance(message, Error) else message.samples
        if not n_samples == entry.delivered == heard.delivered:
            says = f"{n_samples} samples, delivered {entry.delivered}"
            self._say("gaps", heard, f"{entry.type} says {says}, after {heard.delivered} samples")
        if isinstance(message, Cancelled) and self._cancelled < numbers_of(entry.entry):
            self._say("lost", heard, f"cancelled at {self._here}, and nobody had cancelled {entry.entry}")
        heard.end = heard.end or entry
        if self._speaking is heard:
            self._speaking = None

    def _hear_complete(self, heard: Heard, entry: Entry, message: Complete) -> None:
        self._follows(heard, entry)
        if message.chunks != len(heard.chunks):
            self._say("gaps", heard, f"complete says {message.chunks} chunks, {len(heard.chunks)} were heard")
        if not (heard.chunks and audio_of(heard.chunks[-1]).is_final):
            self._say("gaps", heard, "complete comes after a chunk that was not the final one")
        is_silent = message.finish == "silent"
        if is_silent is bool(message.samples) or (is_silent and len(heard.chunks) > 1):
            says = f"finish {message.finish}, {message.samples} samples"
            self._say("broken", heard, f"complete says {says} in {len(heard.chunks)} chunks")
        if str(message.seed) != heard.asked("seed", str(message.seed)):
            self._say("broken", heard, f"complete says seed {message.seed}, not {heard.asked('seed', '')}")

    # Once all is read.

    def judge(self, expected: Expected, has_left: bool) -> None:
        for heard in self._heard.values():
            self._judge(heard, expected, has_left)
        rank = {job_id: n for n, job_id in enumerate(self._heard)}
        for first, second in pairwise(self._order):
            if rank[first] > rank[second] and not has_left:
                self._say_overtaken(self._heard[second], f"is heard after {first}, which was published after it")

    def _judge(self, heard: Heard, expected: Expected, has_left: bool) -> None:
        end = heard.end.message if heard.end is not None else None
        self._found.n_complete += isinstance(end, Complete)
        self._found.n_silent += isinstance(end, Complete) and end.finish == "silent"
        self._found.n_cancelled += isinstance(end, Cancelled)
        if end is None and heard.job.job_id in self._excepted and heard.job.job_id in self._letters:
            self._say_failed(heard, f"is a dead letter, {self._letters[heard.job.job_id]}")
        elif end is None and self._may_vanish(heard):
            self._say_failed(heard, "was settled without a word")
        elif end is None and not has_left:
            said = f"{len(heard.begins)} begins and {len(heard.chunks)} chunks were heard of it"
            self._say("lost", heard, f"has not ended; {said}")
        if not (heard.chunks or isinstance(end, Complete | Error)):
            return
        if self._is_stalled(heard.job, end):
            self._found.n_stalled += 1
        elif isinstance(end, Complete) and heard.job.is_unfinished:
            self._say("broken", heard, "is complete, and its text never ended")
        try:
            speech = expected.speech(heard.job, heard.chunks)
        except WireError:  # codes that cannot be read; that was said
            return
        except JobError as error:
            if isinstance(end, Error) and end.code == error.code:
                self._found.n_refused += 1
            elif not self._is_stalled(heard.job, end):
                self._say("wrong", heard, f"was to be refused: {error.code}: {error}")
            return
        if isinstance(end, Error) and not (has_left or self._is_stalled(heard.job, end)):
            self._say_failed(heard, f"ended by an error, {end.code}: {end.message}")
        if heard.data != (speech.data if isinstance(end, Complete) else speech.data[: len(heard.data)]):
            self._say("wrong", heard, difference(heard.data, speech.data, heard.sample_type))
        if what := heard.segments.difference(speech.segments, isinstance(end, Complete)):
            self._say("wrong", heard, what)

    def _is_stalled(self, job: Published, end: Message | None) -> bool:
        """Ended, as it had to, because its text did not go on."""
        is_given_up = isinstance(end, Error) and end.code == ErrorCode.TEXT_STALLED
        return is_given_up and job.writing is not None and job.writing.may_stall(TEXT_WAIT_S)

    def _say_overtaken(self, heard: Heard, what: str) -> None:
        if self._may_overtake:
            self._found.excepted_orders.append(f"{self._session_id} {heard.job.job_id}: {what}")
        else:
            self._say("broken", heard, what)

    def _say_failed(self, heard: Heard, what: str) -> None:
        excepted = self._excepted.get(heard.job.job_id)
        if excepted is None:
            self._say("lost", heard, what)
        else:
            self._found.excepted.append(f"{self._session_id} {heard.job.job_id}: {what} ({excepted.reason})")
