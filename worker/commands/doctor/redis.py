"""Checks the Redis of each plane: reachable, new enough, quick, and configured so that no job is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, time

from schemas.errors import MakimaError
from worker.commands.doctor.findings import Finding, fail, unless, warn
from worker.commands.doctor.queue import check_queue
from worker.commands.doctor.redis_config import check_configuration
from worker.commands.doctor.session_rights import check_session_rights
from worker.engine.checkpoint.packages import fits
from worker.settings import Settings, without_password
from worker.stream.scripts import APPEND, BEAT, BEGIN, CLAIM, END, LOOK, RECLAIM, REPEAT, SETTLE, SWEEP, Script
from worker.stream.transport.address import Address, AddressError, addresses
from worker.stream.transport.advice import advice_on, text_of
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import MissingRight, RedisError, Refusal
from worker.stream.transport.round_trips import enough_lease_ms

OLDEST = "7.0"
N_PINGS = 50
PINGS_S = 3.0  # at most, for all of them
SLOW_PING_MS = 5.0
ANSWER_TIMEOUT_S = 3.0
PLANE_TIMEOUT_S = 20.0
JOB_SCRIPTS = (CLAIM, SETTLE, BEAT, RECLAIM, SWEEP)
SESSION_SCRIPTS = (BEGIN, APPEND, LOOK, END, REPEAT)
TROUBLE = (RedisError, MakimaError, OSError, ValueError)


@dataclass(slots=True)
class RedisRole:
    """A server under examination.

    name: prefix of its rows. url: without password. hints: whether workers publish them. skew_ms: its clock minus ours.
    """

    name: str
    url: str
    address: Address
    scripts: tuple[Script, ...]
    keeps_jobs: bool
    keeps_sessions: bool = False
    prefix: str = "makima"
    hints: bool = False
    findings: list[Finding] = field(default_factory=list)
    skew_ms: float | None = None

    def found(self, finding: Finding) -> None:
        self.findings.append(Finding(f"{self.name} {finding.what}", finding.state, finding.detail, finding.remedy))


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Every check of one server, or of two."""
    try:
        jobs, sessions = addresses(settings)
    except MakimaError as error:
        yield fail("redis", error.problem, error.remedy or "correct the setting; docs/operations.md describes each")
        return
    job_url, session_url = without_password(settings.redis_url), without_password(settings.session_url)
    shared = (settings.prefix, settings.hints)
    if jobs == sessions:
        planes = [RedisRole("redis", job_url, jobs, JOB_SCRIPTS + SESSION_SCRIPTS, True, True, *shared)]
    else:
        planes = [
            RedisRole("job redis", job_url, jobs, JOB_SCRIPTS, True, False, *shared),
            RedisRole("session redis", session_url, sessions, SESSION_SCRIPTS, False, True, *shared),
        ]
    for plane in planes:
        asyncio.run(_within_time(plane, settings.lease_ms))
        yield from plane.findings
    if len(planes) > 1:
        yield from _check_clocks(planes[0].skew_ms, planes[1].skew_ms, settings.lease_ms)


async def _within_time(plane: RedisRole, lease_ms: int) -> None:
    try:
        async with asyncio.timeout(PLANE_TIMEOUT_S):
            await _examine(plane, lease_ms)
    except TROUBLE as error:
        what, advice = _what_is_wrong(error)
        plane.found(fail("server", f"{plane.url}: {what}", advice))


async def _examine(plane: RedisRole, lease_ms: int) -> None:
    link = open_link(plane.address, ANSWER_TIMEOUT_S)
    try:
        await link.call("PING")
        said = await _info(link)
        plane.found(await _server(link, said, plane))
        plane.found(await _latency(link, lease_ms if plane.keeps_jobs else None))
        plane.found(await _scripts(link, plane.scripts))
        for finding in await check_configuration(link, said, plane.keeps_jobs):
            plane.found(finding)
        plane.found(await _clock(link, plane, lease_ms))
        if plane.keeps_jobs:
            for finding in await check_queue(link, plane.prefix):
                plane.found(finding)
        if plane.keeps_sessions:
            for finding in await check_session_rights(link, plane.address, plane.prefix, plane.hints):
                plane.found(finding)
    finally:
        await link.close()


def _what_is_wrong(error: BaseException) -> tuple[str, str]:
    """(problem, remedy)"""
    what = text_of(error) if str(error) else "no answer in time"
    if isinstance(error, AddressError):
        return what, "correct MAKIMA_TTS_REDIS_URL or --redis-url"
    advice = advice_on(error)
    if advice is None:
        return what, "start Redis there, or set MAKIMA_TTS_REDIS_URL or --redis-url; makima-tts dev brings its own"
    return (f"{advice.problem}: {what}" if advice.problem else what), advice.remedy


async def _info(link: Link) -> dict[str, str]:
    """INFO as a dict; empty when it is refused."""
    try:
        text = await link.call("INFO")
    except MissingRight:
        return {}
    return _fields(text)


def _fields(text: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in pairs if colon}


async def _server(link: Link, said: dict[str, str], plane: RedisRole) -> Finding:
    where = plane.url + (", asked: the server of slot 0" if plane.address.is_cluster else "")
    if not said:
        try:
            flat = await link.call("HELLO", 2)
        except Refusal:
            return warn("server", f"answers at {where}; its version is kept from this user", "it must be 7.0 or later")
        words = [word.decode() if isinstance(word, bytes) else word for word in flat]
        hello = dict(zip(words[::2], words[1::2], strict=False))
        kind, shown = str(hello.get("server", "redis")), str(hello.get("version", ""))
    elif "valkey_version" in said:
        kind, shown = "valkey", said["valkey_version"]
    else:
        kind, shown = said.get("server_name", "redis"), said.get("redis_version", "")
    numbers = re.match(r"[0-9.]*[0-9]", shown)  # some providers append words of their own
    fine = numbers is not None and fits(numbers[0], f">={OLDEST}")
    return unless(fine, fail("server", f"{kind} {shown} at {where}", "install Redis 7.0 or later, or Valkey"))


async def _latency(link: Link, lease_ms: int | None) -> Finding:
    """lease_ms: None for a server that keeps no jobs."""
    ms: list[float] = []
    while len(ms) < N_PINGS and sum(ms) < PINGS_S * 1000:
        began = perf_counter()
        await link.call("PING")
        ms.append((perf_counter() - began) * 1000)
    detail = f"PING p50 {median(ms):.2f} ms, slowest {max(ms):.2f} ms of {len(ms)}"
    enough_ms = enough_lease_ms(median(ms) / 1000)
    if lease_ms is not None and lease_ms < enough_ms - 99:  # which is in whole hundreds
        advice = f"set MAKIMA_TTS_LEASE_MS to at least {enough_ms} on all workers, or move them nearer to that Redis"
        return fail("latency", f"{detail}: more than a third of the lease of {lease_ms} ms", advice)
    advice = "put the worker nearer to its Redis: each chunk waits for one answer"
    return unless(median(ms) < SLOW_PING_MS, warn("latency", detail, advice))


async def _scripts(link: Link, scripts: tuple[Script, ...]) -> Finding:
    n_loaded = 0
    for script in scripts:
        try:
            sha = await link.call("SCRIPT", "LOAD", script.source)
        except Refusal as error:
            what, advice = _what_is_wrong(error)
            advice = advice if isinstance(error, MissingRight) else "install Redis 7.0 or later, or Valkey"
            return fail("scripts", f"{script.name} cannot be loaded: {what}", advice)
        n_loaded += sha == script.sha.encode()
    detail = f"{n_loaded} of {len(scripts)} loaded"
    return unless(n_loaded == len(scripts), fail("scripts", detail, "the server changes scripts: is it a Redis?"))


async def _clock(link: Link, plane: RedisRole, lease_ms: int) -> Finding:
    """The server's clock compared with ours in the middle of the round trip."""
    try:
        before = time()
        seconds, microseconds = await link.call("TIME")
        after = time()
    except MissingRight:
        return warn("clock", "not known: this user may not ask (TIME)", "give it the rules of `worker`")
    plane.skew_ms = (int(seconds) + int(microseconds) / 1e6 - (before + after) / 2) * 1000
    detail = f"{plane.skew_ms:+.1f} ms beside this machine's"
    advice = "set both clocks by NTP: times in logs and expiry are Redis', and mislead beside this machine's"
    return unless(abs(plane.skew_ms) < lease_ms / 2, warn("clock", detail, advice))


def _check_clocks(jobs_ms: float | None, sessions_ms: float | None, lease_ms: int) -> Iterator[Finding]:
    if jobs_ms is None or sessions_ms is None:
        return
    apart_ms = abs(jobs_ms - sessions_ms)
    detail = f"the two servers' differ by {apart_ms:.1f} ms"
    advice = f"set them by NTP: they must differ by less than the lease of {lease_ms} ms"
    finding = warn if apart_ms < lease_ms else fail
    yield unless(apart_ms < lease_ms / 2, finding("clocks", detail, advice))
