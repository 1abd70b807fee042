"""`queue redrive`: publishes dead jobs again, whole or not at all."""

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

MOST_CHARS = 10**7  # how long a text may be is for the workers to say
MAX_SAID = 20  # letters that were not redriven are named up to so many
HEAD = (b"dead_reason", b"dead_attempts", b"dead_worker", b"dead_id")  # how SETTLE begins a letter
CUT = b"dead_cut"
REDRIVE = load_alone("redrive")

Letter = tuple[bytes, list[bytes]]  # id, flat fields


def redrive(settings: Settings, dead_ids: list[str], every: bool) -> int:
    """Exit status 0 when all that were named were published again, 1 when some were not, 2 for a wrong call."""
    if bool(dead_ids) == every:
        complain("name dead letters by id (see queue dead), or --all for every one")
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
        self._refusals: list[str] = []
        self._at = b""

    async def run(self, dead_ids: list[str]) -> int:
        stopped = ""
        try:
            async for letter_id, flat in self._named(dead_ids) if dead_ids else self._all():
                self._at = letter_id
                if problem := await self._publish_again(letter_id, flat):
                    self._refusals.append(f"{letter_id.decode()} stays: {problem}")
        except (RedisError, OSError) as error:
            at = f" at letter {self._at.decode()}" if self._at else ""
            stopped = f"stopped{at}, and what follows was not tried; {redis_problem(error)}"
            if "WRONGTYPE" in str(error):
                stopped += "; see makima-tts queue repair"
        print(f"published {self._n_published} dead jobs anew")
        for line in self._refusals[:MAX_SAID]:
            complain(line)
        if len(self._refusals) > MAX_SAID:
            complain(f"{len(self._refusals) - MAX_SAID} more letters stay for such reasons")
        if stopped:
            complain(stopped)
        return 1 if self._refusals or stopped else 0

    async def _named(self, dead_ids: list[str]) -> AsyncIterator[Letter]:
        for dead_id in dict.fromkeys(dead_ids):
            found = await self._link.call("XRANGE", self._keys.dead, dead_id, dead_id)
            if not found:
                self._refusals.append(f"there is no dead letter {dead_id}")
            for letter_id, flat in found:
                yield letter_id, flat

    async def _all(self) -> AsyncIterator[Letter]:
        """Up to the newest there is at the start: what dies again meanwhile stays."""
        newest = await self._link.call("XREVRANGE", self._keys.dead, "+", "-", "COUNT", 1)
        if newest:
            async for letter_id, flat in entries(self._link, self._keys.dead, newest[0][0]):
                yield letter_id, flat

    async def _publish_again(self, letter_id: bytes, flat: list[bytes]) -> str:
        """Publish the job and take the letter out, both or neither. Returns why it was not done, or ""."""
        cut, fields = job_of(flat)
        if cut:
            return f"its {printable(cut)} was too long to be kept whole; publish the job yourself"
        try:
            parse_job("0-1", fields, MOST_CHARS)
        except JobError as error:
            return f"it is no job that can be spoken: {printable(str(error).encode('utf-8', 'replace'), 300)}"
        session, job_id = session_id_of(fields) or "", field_of(fields, "job_id")
        seen = self._keys.dead
        if job_id is not None:
            digest = sha1(session.encode() + b" " + job_id, usedforsecurity=False).hexdigest()
            seen = self._keys.seen_prefix + digest
        keys = (self._keys.jobs, self._keys.dead, seen)
        said, *rest = await run_script(self._link, REDRIVE, keys, letter_id, *fields)
        if said == b"QUEUED":
            return f"its job is in the queue already, as {rest[0].decode()}"
        self._n_published += said == b"OK"
        return "" if said == b"OK" else "somebody else took it"


def job_of(flat: list[bytes]) -> tuple[bytes, list[bytes]]:
    """(what was cut of a letter's job, or b""; the job's fields as they were published).

    SETTLE writes its own fields first: those of the same names that follow are the publisher's. In a letter that was
    written by hand the first of each name counts.
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
