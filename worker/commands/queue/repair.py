"""`queue repair`: lists the repairs of a damaged queue; --yes does them while workers continue."""

from __future__ import annotations

import json

from worker.commands.queue.operator import on_queue
from worker.commands.queue.status import report
from worker.commands.terminal import complain
from worker.settings import Settings
from worker.stream.integrity.check import IntegrityReport, check_job_plane
from worker.stream.integrity.repair import Repair
from worker.stream.integrity.repair import repair as mend
from worker.stream.keys import Keys
from worker.stream.transport.base import Link


def repair(settings: Settings, yes: bool, as_json: bool) -> int:
    """Exit status 0 when the queue is sound, also after the repair; 1 when damage is left."""
    return on_queue(settings, lambda link, keys: _repair(link, keys, yes, as_json))


async def _repair(link: Link, keys: Keys, yes: bool, as_json: bool) -> int:
    found = await check_job_plane(link, keys)
    if not as_json:
        _list(found)
    done = Repair(found, found)
    if yes and found.damage:
        done = await mend(link, keys, found)
    if as_json:
        left = {**report(done.after), "why": done.problems}
        print(json.dumps({"found": [damage.as_json() for damage in found.damage], **left}))
    else:
        _print(done, yes)
    return 0 if done.after.is_sound else 1


def _list(found: IntegrityReport) -> None:
    for damage in found.damage:
        print(f"{damage.sentence}; repair: {damage.remedy}")
    for note in found.notes:
        print(f"{note}; it is not changed")


def _print(done: Repair, yes: bool) -> None:
    for why in done.after.unread:
        complain(f"not checked: {why}; run this as the user `operator` of deploy/redis/users.acl")
    if done.after.is_sound:
        print("the queue is sound")
    elif not yes and done.before.damage:
        print("nothing was changed; run makima-tts queue repair --yes")
    elif yes:
        for damage in done.after.damage:
            complain(f"left: {damage.sentence}")
        for why in done.problems:
            complain(why)
