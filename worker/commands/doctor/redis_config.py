"""Whether a Redis is configured so that no job is lost: append-only file, eviction, the longest argument."""

from __future__ import annotations

from worker.commands.doctor.findings import Finding, unless, warn
from worker.stream.transport.base import Link
from worker.stream.transport.retry import Refusal

MAX_BULK_BYTES = 1024 * 1024


async def check_configuration(link: Link, info: dict[str, str], keeps_jobs: bool) -> list[Finding]:
    """One finding for each directive. info: the answer to INFO; empty where this user may not send it."""
    eviction = await _eviction(link, info)
    return [await _appendonly(link, info), eviction, await _bulk_length(link)] if keeps_jobs else [eviction]


async def _setting(link: Link, name: str) -> str | None:
    """A directive's value; None without the right to read it, or where the server does not know it."""
    try:
        flat = await link.call("CONFIG", "GET", name)
    except Refusal:  # an ACL, or a provider without CONFIG
        return None
    return flat[1].decode() if len(flat) > 1 else None


async def _appendonly(link: Link, said: dict[str, str]) -> Finding:
    value: str | None
    if "aof_enabled" in said:
        value = "yes" if said["aof_enabled"] == "1" else "no"
    else:
        value = await _setting(link, "appendonly")
    if value is None:
        return _kept("appendonly", "yes")
    advice = "set `appendonly yes`: without it queued jobs are lost when Redis restarts"
    return unless(value == "yes", warn("appendonly", value, advice))


async def _eviction(link: Link, said: dict[str, str]) -> Finding:
    value = said.get("maxmemory_policy") or await _setting(link, "maxmemory-policy")
    if value is None:
        return _kept("maxmemory-policy", "noeviction")
    advice = "set `maxmemory-policy noeviction`: an evicted key is a lost job or a silent session"
    return unless(value == "noeviction", warn("maxmemory-policy", value, advice))


async def _bulk_length(link: Link) -> Finding:
    value = await _setting(link, "proto-max-bulk-len")
    if value is None or not value.isdigit():
        return _kept("proto-max-bulk-len", "1mb")
    detail = f"{int(value):,} bytes"
    advice = "set `proto-max-bulk-len 1mb`: otherwise anybody can publish a field of many megabytes"
    return unless(int(value) <= MAX_BULK_BYTES, warn("proto-max-bulk-len", detail, advice))


def _kept(directive: str, wanted: str) -> Finding:
    return warn(directive, "not known: this user may not ask (CONFIG GET, INFO)", f"see that it is `{wanted}`")
