"""A worker's connections and their retry policies: one for jobs, one that blocks on the doorbell, one for sessions.

Utterances that wait borrow connections that block from a pool. The heartbeat opens its own connection.
"""

from __future__ import annotations

import logging
from time import monotonic

from worker.observe.metrics import Metrics
from worker.settings import Settings
from worker.stream.keys import Keys
from worker.stream.queue import BLOCK_MS
from worker.stream.session_rights import hint_command, refusal_of_hints, refusal_of_texts
from worker.stream.session_writer import SessionPlane
from worker.stream.transport.address import addresses
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link
from worker.stream.transport.probe import PlaneProbe
from worker.stream.transport.retry import RetryPolicy
from worker.stream.watch import WatchLinks

log = logging.getLogger(__name__)

WATCHES_A_SLOT = 10  # utterances that may wait at a time: for text, or because they are far enough ahead
MOST_WATCHES = 1000  # connections, of the 10,000 clients that a Redis takes by default


class Connections:
    """Links to the two planes; planes on one Redis share a link.

    n_slots: of the worker's engine. sessions: probes the session plane, which an idle worker does not use otherwise.
    plane: for the session writers.
    """

    def __init__(self, settings: Settings, metrics: Metrics, n_slots: int) -> None:
        reconnects = metrics.reconnects.labels
        self.job_address, session_address = addresses(settings)
        is_one = session_address == self.job_address
        self.job_link = open_link(self.job_address)
        self.bell_link = open_link(self.job_address, BLOCK_MS / 1000 + 5)
        self.session_link = self.job_link if is_one else open_link(session_address)
        self.job_retry = RetryPolicy("job", reconnects("jobs").inc, wants_rights=True)
        self.bell_retry = RetryPolicy("job (doorbell)", reconnects("doorbell").inc)
        self.session_retry = RetryPolicy("session", reconnects("sessions").inc)
        hint = hint_command(session_address) if settings.hints else ""
        self.plane = SessionPlane(
            self.session_link, Keys(settings.prefix), self.session_retry, metrics.fenced_writes.inc, hint
        )
        most = min(WATCHES_A_SLOT * n_slots, MOST_WATCHES)
        self.watches = WatchLinks(session_address, self.session_retry, most)
        self.sessions = PlaneProbe(self.session_link, self.session_retry, is_needed=not is_one)

    async def check_rights(self) -> None:
        """Look once for the rights that older ACL files lack; without those for hints, none are published."""
        plane = self.plane
        if plane.hint and (error := await plane.retry(lambda: refusal_of_hints(plane.link, plane.keys, plane.hint))):
            plane.hint = ""
            what = "or set MAKIMA_TTS_HINTS=false if no reader relies on them"
            log.warning("hints are not published, and readers find entries later: %s, %s", sentence_on(error), what)
        if error := await plane.retry(lambda: refusal_of_texts(plane.link, plane.keys)):
            log.warning("jobs with text_from cannot be spoken: %s", sentence_on(error))

    def problems(self, lease_s: float) -> list[str]:
        """A sentence for each plane that has not served for longer than a lease, or never has. For any thread."""
        found = []
        for retry in (self.job_retry, self.bell_retry, self.session_retry):
            since = retry.failing_since
            has_never_served = retry.wants_rights
            if since is not None and (has_never_served or monotonic() - since > lease_s):
                seconds = monotonic() - since
                found.append(f"the {retry.plane} Redis has not served for {seconds:.0f} s: {retry.last_error}")
        return [*found, *filter(None, [self.sessions.problem()])]

    async def close(self) -> None:
        await self.watches.close()
        links: set[Link] = {self.job_link, self.bell_link, self.session_link}
        for link in links:
            await link.close()
