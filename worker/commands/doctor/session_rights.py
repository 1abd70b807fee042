"""Checks that this Redis user may publish hints and read texts that are being written."""

from __future__ import annotations

from worker.commands.doctor.findings import Finding, ok, warn
from worker.stream.keys import Keys
from worker.stream.session_rights import hint_command, refusal_of_hints, refusal_of_texts
from worker.stream.transport.address import Address
from worker.stream.transport.advice import advice_on, text_of
from worker.stream.transport.base import Link


async def check_session_rights(link: Link, address: Address, prefix: str, hints: bool) -> list[Finding]:
    """A row for texts and one for hints. hints: whether workers are to publish them."""
    keys = Keys(prefix)
    refused = await refusal_of_texts(link, keys)
    texts = ok("texts", "may be read while they are being written")
    if refused is not None:
        texts = warn("texts", f"jobs with text_from cannot be spoken: {text_of(refused)}", _remedy(refused))
    if not hints:
        return [texts, ok("hints", "not published (MAKIMA_TTS_HINTS)")]
    command = hint_command(address)
    refused = await refusal_of_hints(link, keys, command)
    if refused is None:
        return [texts, ok("hints", f"may be published ({command})")]
    remedy = f"{_remedy(refused)}, or set MAKIMA_TTS_HINTS=false if no reader relies on them"
    return [texts, warn("hints", f"not published: {text_of(refused)}", remedy)]


def _remedy(error: Exception) -> str:
    advice = advice_on(error)
    return advice.remedy if advice else "check this Redis user's rights"
