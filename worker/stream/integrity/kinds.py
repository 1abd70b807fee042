"""The kinds of damage to the job plane, each with its sentence and its remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

AHEAD_MS = 60_000  # a worker never writes a time further ahead
N_EXAMPLES = 3
SHOWN_CHARS = 48
MAX_ATTEMPT = 1_000_000  # above any count that a worker reaches

Item = tuple[bytes, bytes]  # field and value, member and score, or an element or ID and b""

_id = re.compile(rb"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})", re.ASCII).fullmatch
_waiting = re.compile(rb"([A-Za-z0-9._:-]{1,128}) ([0-9]{20})-([0-9]{20})").fullmatch
_attempt = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15})(?: .*)?", re.DOTALL).fullmatch
is_session = re.compile(rb"[A-Za-z0-9._:-]{1,128}").fullmatch


def parse_id(raw: bytes) -> tuple[int, int] | None:
    """(ms, seq) of an entry ID as Redis writes it; None for anything else."""
    found = _id(raw)
    numbers = (int(found[1]), int(found[2])) if found else None
    return numbers if numbers and max(numbers) < 2**64 else None


def format_id(ms: int, seq: int) -> bytes:
    return b"%d-%d" % (ms, seq)


def parse_waiting(member: bytes) -> tuple[bytes, bytes] | None:
    """(session, entry ID) of a member of `waiting`; None for a malformed one."""
    found = _waiting(member)
    if not found or max(int(found[2]), int(found[3])) >= 2**64:
        return None
    return found[1], format_id(int(found[2]), int(found[3]))


def waiting_member(session: bytes, entry_id: bytes) -> bytes:
    ms, _, seq = entry_id.partition(b"-")
    return session + b" " + ms.rjust(20, b"0") + b"-" + seq.rjust(20, b"0")


def parse_fence(value: bytes) -> int | None:
    """The fence in ms of an attempts record `<count> <fence>`, or None. Newer workers may append more parts."""
    found = _attempt(value)
    return int(found[2]) if found and int(found[1]) <= MAX_ATTEMPT else None


def printable(raw: bytes, max_chars: int = SHOWN_CHARS) -> str:
    """Foreign bytes as short printable text, without control characters and line breaks."""
    text = raw[: 4 * max_chars].decode("utf-8", "backslashreplace")
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return printable if len(printable) <= max_chars else printable[: max_chars - 1] + "…"


class Kind(StrEnum):
    OTHER_TYPE = "other_type"
    UNWRITTEN = "unwritten"
    GONE = "gone"
    ELSEWHERE = "elsewhere"
    FUTURE = "future"
    SCORE = "score"
    LOST = "lost"
    STUCK = "stuck"
    EXHAUSTED = "exhausted"
    AHEAD = "ahead"
    NO_GROUP = "no_group"
    GROUP_AHEAD = "group_ahead"
    TAKEN_AHEAD = "taken_ahead"
    EXPIRES = "expires"
    ETERNAL = "eternal"
    LEFT_ASIDE = "left_aside"


_REMOVE = "remove it; nothing else is kept there"
_ITEM_DAMAGE = {  # {n}: a count and a noun
    Kind.UNWRITTEN: ("holds {n} that no worker wrote", "remove"),
    Kind.GONE: ("holds {n} of jobs that are gone", "remove"),
    Kind.ELSEWHERE: ("holds {n} that name a job of another session", "remove"),
    Kind.FUTURE: ("holds {n} with a time more than 60 s ahead", "remove"),
    Kind.SCORE: ("holds {n} with a score other than 0", "set the score to 0 of"),
    Kind.LOST: ("holds {n} that are in no queue", "make ready to be spoken"),
    Kind.STUCK: ("holds {n} that wait with no job before them", "give the gate to"),
    Kind.LEFT_ASIDE: ("holds {n} of a stream that was set aside", "move back"),
}
_KEY_DAMAGE = {
    Kind.OTHER_TYPE: ("is {detail}", "rename it to {aside}, where Redis keeps it for 7 days"),
    Kind.EXHAUSTED: ("accepts no more entries: its last ID is {detail}", "{rebuild}"),
    Kind.AHEAD: ("generates IDs more than 60 s ahead: its last ID is {detail}", "{rebuild}"),
    Kind.NO_GROUP: ("has no group `workers`", "create the group at the stream's beginning"),
    Kind.GROUP_AHEAD: ("has a group that is ahead of its last ID: {detail}", "set the group back to the last ID"),
    Kind.TAKEN_AHEAD: ("is ahead of the last job: {detail}", "delete it; workers scan every job again"),
    Kind.EXPIRES: ("expires in {detail}", "remove its expiry"),
    Kind.ETERNAL: ("blocks all sweeps {detail}", "delete it; workers write it again"),
}
_REBUILD = {
    "jobs": (
        "rebuild the stream with every job in it; jobs whose IDs are ahead are published again; groups other than"
        " `workers` are lost"
    ),
    "dead": "rebuild the stream with every dead letter in it, in order; their IDs may change",
    "bell": "delete it; it only wakes workers",
}
_NOUNS = {
    "ready": ("element", "elements"),
    "workers": ("worker's card", "workers' cards"),
    "delayed": ("member", "members"),
    "waiting": ("member", "members"),
    "jobs": ("entry", "entries"),
    "dead": ("dead letter", "dead letters"),
    "taken": ("value", "values"),
}
_HAS_VALUE = frozenset({"gates", "attempts", "workers", "delayed", "waiting", "seen:*"})


@dataclass(frozen=True, slots=True)
class Damage:
    """One kind of damage to one key. items: the damaged items, raw; empty when the key as a whole is damaged.

    name: the key without prefix and tag; `seen:*` for all marks of job_ids. detail: describes a damaged key.
    """

    tag: str
    name: str
    kind: Kind
    items: tuple[Item, ...] = ()
    detail: str = ""

    @property
    def key(self) -> str:
        return self.tag + self.name

    @property
    def count(self) -> int:
        return len(self.items) or 1

    @property
    def examples(self) -> list[str]:
        return [self._example(item) for item in self.items[:N_EXAMPLES]]

    def _example(self, item: Item) -> str:
        name = item[0].removeprefix(self.tag.encode())
        return f"'{printable(name)}'" + (f" → '{printable(item[1])}'" if self.name in _HAS_VALUE else "")

    @property
    def sentence(self) -> str:
        """The damage in one printable line."""
        if self.kind not in _ITEM_DAMAGE:
            return f"{self.key} {_KEY_DAMAGE[self.kind][0].format(detail=self.detail)}"
        more = ", …" if self.count > N_EXAMPLES else ""
        return f"{self.key} {_ITEM_DAMAGE[self.kind][0].format(n=self._n)}: {', '.join(self.examples)}{more}"

    @property
    def remedy(self) -> str:
        """What `queue repair` does about it, in the imperative."""
        if self.kind in _ITEM_DAMAGE:
            verb = "make due now" if (self.name, self.kind) == ("delayed", Kind.FUTURE) else _ITEM_DAMAGE[self.kind][1]
            return f"{verb} {self._n}"
        about = {"aside": f"{self.tag}aside:<ms>:{self.name}", "rebuild": _REBUILD.get(self.name, _REMOVE)}
        return _KEY_DAMAGE[self.kind][1].format(**about)

    @property
    def _n(self) -> str:
        name = self.name.rpartition(":")[2] if self.kind is Kind.LEFT_ASIDE else self.name
        one, many = ("mark", "marks") if self.name == "seen:*" else _NOUNS.get(name, ("field", "fields"))
        if (name, self.kind) == ("jobs", Kind.GONE):
            one, many = "pending record", "pending records"
        return f"{self.count} {one if self.count == 1 else many}"

    def as_json(self) -> dict[str, Any]:
        return {
            "key": self.key, "kind": self.kind, "count": self.count, "examples": self.examples,
            "sentence": self.sentence, "remedy": self.remedy,
        }  # fmt: skip
