"""Iterators over long keys, in pages, so that no command blocks Redis for long."""

from __future__ import annotations

from collections.abc import AsyncIterator

from worker.stream.integrity.kinds import Item
from worker.stream.keys import GROUP
from worker.stream.transport.base import Link

PAGE = 500
LAST_ID = b"%d-%d" % (2**64 - 1, 2**64 - 1)  # nothing follows it, and Redis rejects a range that starts after it
ENTRY_PAGE = 200  # an entry may have texts of 20 kB


async def scan_pairs(link: Link, command: str, key: str) -> AsyncIterator[Item]:
    """(field, value) by HSCAN, (member, score) by ZSCAN. Some may come twice."""
    cursor = b"0"
    while True:
        cursor, flat = await link.call(command, key, cursor, "COUNT", PAGE)
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            yield name, value
        if cursor == b"0":
            return


async def elements(link: Link, key: str) -> AsyncIterator[bytes]:
    """The elements of a list. Elements popped meanwhile cause as many others to be skipped."""
    start = 0
    while page := await link.call("LRANGE", key, start, start + PAGE - 1):
        for element in page:
            yield element
        start += len(page)


async def entries(link: Link, key: str, last: str | bytes = "+") -> AsyncIterator[tuple[bytes, list[bytes]]]:
    """(ID, flat fields) of a stream's entries, up to an ID."""
    start: str | bytes = "-"
    while page := await link.call("XRANGE", key, start, last, "COUNT", ENTRY_PAGE):
        for entry_id, fields in page:
            yield entry_id, fields
        if page[-1][0] == LAST_ID:
            return
        start = b"(" + page[-1][0]


async def pending_ids(link: Link, key: str) -> AsyncIterator[bytes]:
    """The entry IDs in the group's pending list."""
    start: str | bytes = "-"
    while page := await link.call("XPENDING", key, GROUP, start, "+", PAGE):
        for entry_id, *_ in page:
            yield entry_id
        if page[-1][0] == LAST_ID:
            return
        start = b"(" + page[-1][0]


async def keys_under(link: Link, tag: str) -> AsyncIterator[list[bytes]]:
    """Pages of the keys whose names begin with a tag such as `makima:{speak}:`. Some may come twice."""
    cursor = b"0"
    while True:
        cursor, page = await link.call("SCAN", cursor, "MATCH", f"{tag}*", "COUNT", PAGE)
        if page:
            yield page
        if cursor == b"0":
            return
