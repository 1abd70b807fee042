"""The check that all connections of a worker go to one master.

After a fail-over the old master accepts commands for some seconds until a Sentinel makes it a replica. A connection
that was made again goes to the new master; one that never broke stays on the old one. A worker whose beats and claims
went to different masters would take over the jobs of live workers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

from worker.stream.heartbeat import Heartbeat
from worker.stream.transport.base import Link
from worker.stream.transport.link import PipelinedLink

AGAIN_AFTER_S = 1.0

log = logging.getLogger(__name__)


class MasterCheck:
    """Compares the first link's server with the heartbeat's. Not thread-safe: for the event loop of the links."""

    def __init__(self, links: Sequence[Link], heartbeat: Heartbeat) -> None:
        self._links = [link for link in links if isinstance(link, PipelinedLink)]
        self._heartbeat = heartbeat
        self._renewed_at = -AGAIN_AFTER_S

    @property
    def has_one_master(self) -> bool:
        """False while the two are known to be connected to different servers."""
        servers = [self._links[0].server if self._links else None, self._heartbeat.server]
        return None in servers or servers[0] == servers[1]

    def check(self) -> None:
        """With two masters, reconnect every connection: the Sentinels name the current master."""
        if self.has_one_master or monotonic() - self._renewed_at < AGAIN_AFTER_S:
            return
        self._renewed_at = monotonic()
        log.warning(
            "the heartbeat and the jobs' connection are on different masters (%s and %s); reconnecting both",
            self._heartbeat.server, self._links[0].server,
        )  # fmt: skip
        for link in self._links:
            link.renew()
        self._heartbeat.renew()
