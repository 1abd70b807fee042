"""`queue redrive`: publishes dead jobs again. A job is published whole or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha1

from schemas.errors import JobError
from schemas.jobs import field_of, parse_job, session_id_of
from worker.commands.queue.operator import on_queue
from worker.commands.terminal import complain, redis_problem
from worker.settings import Settings
from worker.stream.integrity.kinds import parse_id, printable
from worker.stream.integrity.pages import entries
from worker.stream.keys import Keys
from worker.stream.scripts import load_alone
from worker.stream.transport.base import Link, run_script
from worker.stream.transport.retry import RedisError

MOST_CHARS = 10**7  # the workers check the length of the text
MAX_SHOWN = 20  # letters that stay are listed up to this number
HEAD = (b"dead_reason", b"dead_attempts", b"dead_worker", b"dead_id")  # how SETTLE begins a letter
CUT = b"dead_cut"
REDRIVE = load_alone("redrive")

Letter = tuple[bytes, list[bytes]]  # id, flat fields


def redrive(settings: Settings, dead_ids: list[str], every: bool) -> int:
    """Exit status 0 when every named letter was published again, 1 when some were not, 2 for wrong arguments."""
    if bool(dead_ids) == every:
        complain("no dead letter is named; give ids that queue dead lists, or --all")
        return 2
    odd = [one for one in dead_ids if parse_id(one.encode("utf-8", "replace")) is None]
    for one in odd:
        complain(f"{printable(one.encode('utf-8', 'replace'))} is not an id; a letter's is <ms>-<seq>, see queue dead")
    if odd:
        return 2
    return on_queue(settings, lambda link, keys: _Redrive(link, keys).run(dead_ids))


class _Redrive:
    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._n_published = 0
        self._kept: list[str] = []
        self._at = b""

    async def run(self, dead_ids: list[str]) -> int:
        stopped = ""
        try:
            async for letter_id, flat in self._named(dead_ids) if dead_ids else self._all():
                self._at = letter_id
                if problem := await self._publish_again(letter_id, flat):
                    self._kept.append(f"{letter_id.decode()} stays: {problem}")
        except (RedisError, OSError) as error:
            at = f" at letter {self._at.decode()}" if self._at else ""
            stopped = f"stopped{at} and tried no further letters: {redis_problem(error)}"
            if "WRONGTYPE" in str(error):
                stopped += "; run makima-tts queue repair"
        print(f"published {self._n_published} dead jobs again")
        for line in self._kept[:MAX_SHOWN]:
            complain(line)
        if len(self._kept) > MAX_SHOWN:
            complain(f"{len(self._kept) - MAX_SHOWN} more letters stay for similar reasons")
        if stopped:
            complain(stopped)
        return 1 if self._kept or stopped else 0

    async def _named(self, dead_ids: list[str]) -> AsyncIterator[Letter]:
        for dead_id in dict.fromkeys(dead_ids):
            found = await self._link.call("XRANGE", self._keys.dead, dead_id, dead_id)
            if not found:
                self._kept.append(f"there is no dead letter {dead_id}")
            for letter_id, flat in found:
                yield letter_id, flat

    async def _all(self) -> AsyncIterator[Letter]:
        """Every letter up to the newest at the start: a job that dies again meanwhile stays."""
        newest = await self._link.call("XREVRANGE", self._keys.dead, "+", "-", "COUNT", 1)
        if newest:
            async for letter_id, flat in entries(self._link, self._keys.dead, newest[0][0]):
                yield letter_id, flat

    async def _publish_again(self, letter_id: bytes, flat: list[bytes]) -> str | None:
        """Publish the job and delete its letter, both or neither. Returns the problem where neither was done."""
        cut, fields = job_of(flat)
        if cut:
            return f"its {printable(cut)} was too long to be kept whole; publish the job yourself"
        try:
            parse_job("0-1", fields, MOST_CHARS)
        except JobError as error:
            return f"it is not a valid job: {printable(str(error).encode('utf-8', 'replace'), 300)}"
        session, job_id = session_id_of(fields) or "", field_of(fields, "job_id")
        seen = self._keys.dead
        if job_id is not None:
            digest = sha1(session.encode() + b" " + job_id, usedforsecurity=False).hexdigest()
            seen = self._keys.seen_prefix + digest
        keys = (self._keys.jobs, self._keys.dead, seen)
        answer, *rest = await run_script(self._link, REDRIVE, keys, letter_id, *fields)
        if answer == b"QUEUED":
            return f"its job is already in the queue, as {rest[0].decode()}"
        self._n_published += answer == b"OK"
        return None if answer == b"OK" else "another operator took it"


def job_of(flat: list[bytes]) -> tuple[bytes, list[bytes]]:
    """(the name of the field that the letter does not hold whole, or b""; the job's fields as published).

    SETTLE writes its own fields first; later fields of the same names are the publisher's. In a letter that was written
    by hand, the first field of each name counts as SETTLE's.
    """
    pairs = list(zip(flat[::2], flat[1::2], strict=False))
    names = [name for name, _ in pairs]
    if tuple(names[: len(HEAD)]) == HEAD:
        n = len(HEAD)
        cut = pairs[n][1] if names[n : n + 1] == [CUT] else b""
        job = pairs[n + bool(cut) :]
    else:
        cut = next((value for name, value in pairs if name == CUT), b"")
        own = {names.index(name) for name in (*HEAD, CUT) if name in names}
        job = [pair for index, pair in enumerate(pairs) if index not in own]
    return cut, [word for pair in job for word in pair]
