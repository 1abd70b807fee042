"""URLs of Redis, and the answer of a Cluster to CLUSTER SLOTS."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar, cast

import msgpack
import redis
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from tests.fuzz.strategies import as_msgpack, mostly, several, splices, strings, tree_changes, tree_of
from tests.fuzz.target import Target, packed, require, unpacked
from worker.stream.transport.address import Address, AddressError
from worker.stream.transport.cluster import ClusterLink
from worker.stream.transport.link import PipelinedLink

T = TypeVar("T")
SECRET = "Hunter2%40x"
URLS = (
    "redis://127.0.0.1:6379/0",
    f"redis://user:{SECRET}@host:6379/1",
    f"rediss://:{SECRET}@[::1]:6380/0?db=3",
    "unix:///run/redis.sock?db=1",
    f"unix://user:{SECRET}@/run/redis.sock",
    "redis+sentinel://a:26379,b:26379/service/0",
    f"rediss+sentinel://user:{SECRET}@a,b:1,[::1]:2/service",
    "redis+cluster://a:6379,b:6379",
    f"rediss+cluster://:{SECRET}@a",
)
PARTS = (
    "redis", "rediss", "unix", "redis+sentinel", "redis+cluster", "http", "://", ":", "/", "//", "///", "@", "@@", ",",
    ",,", "?", "#", "&", "=", "%", "%00", "%2F", "%ff", "[", "]", "[::1]", "[::1]:0", "127.0.0.1", "host", "a:b", ":0",
    ":65536", ":-1", ":٣", ":" + "9" * 5000, "/0", "/16", "/-1", "/x", "/٣", "/" + "1" * 5000, "/service/0", "\n", "\t",
    " ", "\0", "\ud800", "é", "℀", "．", "。", "xn--", "Hunter2",
)  # fmt: skip
OPTIONS = (
    "db=1", "db=x", "db=-1", "db=", "db=1&db=2", "ssl_cert_reqs=none", "ssl_cert_reqs=x", "ssl_ca_certs=/x", "foo=1",
    "ssl_check_hostname=true", "ssl_check_hostname=1", "ssl_min_version=1", "decode_responses=1", "protocol=3", "ssl=1",
    "connection_class=x", "encoding=utf-16", "socket_timeout=x", "socket_timeout=nan", "timeout=1", "retry=1",
    "path=/x", "password=x", "username=u", "host=a&port=1", "client_name=%0a", "retry_on_timeout=1",
    "max_connections=0",
    "driver_info=1", "health_check_interval=1", "credential_provider=1", "command_packer=1", "parser_class=x",
    "socket_keepalive_options=1",
)  # fmt: skip


options = st.tuples(st.sampled_from("??&"), st.sampled_from(OPTIONS)).map("".join)
with_option = options.map(lambda option: lambda url: url + option)
parts = mostly(st.sampled_from(PARTS), strings | st.sampled_from(URLS))
urls = several(st.sampled_from(URLS), splices(parts), with_option)


def parse_url(data: bytes, folder: Path) -> bool:
    address = Address(data.decode("utf-8", "surrogatepass"))
    require(SECRET not in repr(address), "an address shows its password")
    if address.kind != "standalone":
        hosts = address.hosts
        require(bool(hosts) and all(host and 0 < port < 65536 for host, port in hosts), "a host without name or port")
    if address.is_cluster:
        address = address.node(*address.hosts[0])
    elif address.kind == "sentinel":
        address = address.master(*address.hosts[0])
    target, login = address.target, address.login()
    require(isinstance(target, str) or 0 <= target[1] < 65536, "a port that cannot be")
    require(all(name in ("AUTH", "SELECT") for name, *_ in login), "the URL sends a command of its own")
    require(all(words[1].isdecimal() for words in login if words[0] == "SELECT"), "a database that is no number")
    return True


URL = Target(
    "url",
    parse_url,
    lambda: [url.encode() for url in URLS],
    lambda: urls.map(lambda url: url.encode("utf-8", "surrogatepass")),
    (AddressError,),
    weight=6,
)


class _MappedLink(ClusterLink):
    """A Cluster whose only server answers CLUSTER SLOTS with this."""

    def __init__(self, answer: Any) -> None:
        super().__init__(Address("redis+cluster://a:6379"), 1.0)
        self._answer = answer

    def _server(self, place: tuple[str, int]) -> PipelinedLink:
        return cast("PipelinedLink", _Server(self._answer))


class _Server:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def call(self, *command: Any) -> Any:
        return self._answer


def answers() -> list[bytes]:
    one = [[0, 16383, [b"10.0.0.1", 6379, b"id"]]]
    three = [
        [n * 5461, n * 5461 + 5460, [b"10.0.0.%d" % n, 7000 + n, b"id", [b"hostname", b"h"]], [None, 7100, b"id"]]
        for n in range(3)
    ]
    return [packed(one), packed(three), packed([[0, 16383, [b"", 6379, b"id", []]]])]


def an_answer() -> SearchStrategy[bytes]:
    return several(st.sampled_from([tree_of(unpacked(one)) for one in answers()]), tree_changes).map(as_msgpack)


def parse_slots(data: bytes, folder: Path) -> bool:
    try:
        link = _MappedLink(unpacked(data))
    except (ValueError, TypeError, msgpack.StackError):  # no value that a parser of answers could return
        return False
    for key in (None, b"makima:{speak}:jobs", "x"):
        host, port = _at_once(link._owner(key))
        require(isinstance(host, str) and isinstance(port, int), "a server that is no place")
    require(len(link._owners) == REDIS_CLUSTER_HASH_SLOTS, "more slots than there are")
    return True


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine in which nothing waits."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return cast("T", ended.value)
    raise AssertionError("it waits")


SLOTS = Target(
    "slots", parse_slots, answers, an_answer, (redis.ConnectionError, redis.exceptions.ClusterDownError), weight=2
)
