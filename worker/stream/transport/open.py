"""Opens the link that an address needs."""

from __future__ import annotations

from worker.stream.transport.address import Address
from worker.stream.transport.base import Link
from worker.stream.transport.cluster import ClusterLink
from worker.stream.transport.link import PipelinedLink


def open_link(address: Address, timeout_s: float = 5.0) -> Link:
    """A link that connects at its first command. A reply that takes longer than `timeout_s` s breaks the connection."""
    return ClusterLink(address, timeout_s) if address.is_cluster else PipelinedLink(address, timeout_s)
