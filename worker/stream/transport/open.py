"""Opens the link that an address needs."""

from __future__ import annotations

from worker.stream.transport.address import Address
from worker.stream.transport.base import Link
from worker.stream.transport.cluster import ClusterLink
from worker.stream.transport.connection import OnMessage
from worker.stream.transport.link import PipelinedLink


def open_link(
    address: Address, timeout_s: float = 5.0, on_message: OnMessage | None = None, home: str | None = None
) -> Link:
    """A link that connects at its first command. A reply that takes longer than `timeout_s` s breaks the connection.

    on_message: for a link that sends (S)SUBSCRIBE, (S)UNSUBSCRIBE and PING alone; called with a message's channel.
    home: the key to whose server of a Cluster commands without a key go: two servers' clocks may differ.
    """
    if address.is_cluster:
        return ClusterLink(address, timeout_s, on_message, home)
    return PipelinedLink(address, timeout_s, on_message)
