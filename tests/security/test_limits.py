"""What the ACL rules cannot forbid, as SECURITY.md says."""

from __future__ import annotations

import pytest
import redis

from tests.security.deployed import Deployed
from tests.security.rights import AUDIO, JOBS
from tests.stream.servers import needs_redis

pytestmark = needs_redis


@pytest.mark.parametrize("user", ["producer", "relay"])
def test_a_publisher_may_publish_into_any_session_and_empty_or_block_the_queue(server: Deployed, user: str) -> None:
    with server.access.client(user) as producer, server.access.client("operator") as operator:
        producer.xadd(JOBS, {"session_id": "of.another", "text": "Hello."})
        producer.xadd(JOBS, {"text": "the only one left"}, maxlen=1, approximate=False)
        assert operator.xlen(JOBS) == 1
        producer.xadd(JOBS, {"text": "the last one ever"}, id=f"{2**64 - 1}-{2**64 - 1}")
        with pytest.raises(redis.ResponseError, match="exhausted"):
            producer.xadd(JOBS, {"text": "refused"})


def test_a_relay_may_write_what_it_likes_into_its_sessions_and_let_them_expire(server: Deployed) -> None:
    with server.access.client("relay") as relay, server.access.client("test") as anybody:
        relay.xadd(AUDIO, {"type": "audio", "job_id": "j", "data": b"no message"})
        assert relay.xtrim(AUDIO, maxlen=0, approximate=False) == 1
        relay.pexpire(AUDIO, 0)
        assert not anybody.exists(AUDIO)
