"""What is wrong with a Redis that fails or refuses, and what mends it: the same sentences in log, `/readyz`, commands.

Known by the error's class, or by its words where neither the server, OpenSSL nor redis-py says it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_URL = "MAKIMA_TTS_REDIS_URL or MAKIMA_TTS_SESSION_REDIS_URL"
_OWN = "MAKIMA_TTS_REDIS_CERT_FILE and MAKIMA_TTS_REDIS_KEY_FILE"
_WITH_TLS = f"if it speaks TLS, write rediss:// in {_URL}; if it asks for a certificate, set {_OWN}"
_WITHOUT_TLS = f"start Redis there; if it speaks no TLS, write redis:// in {_URL}"
_CLUSTER = f"write redis+cluster:// (with TLS rediss+cluster://) for redis:// in {_URL}"
_NOT_BELIEVED = "the server's certificate is not believed"


@dataclass(frozen=True, slots=True)
class Advice:
    """signs: names of error classes and parts of their text by which it is known.

    problem: what is wrong, in a few words; "" where the error's own words say it best. remedy: what to do.
    """

    signs: tuple[str, ...]
    problem: str
    remedy: str


# The first that fits counts: those that say more come before those that say less.
_TABLE = (
    Advice(
        ("NoPermissionError", "NOPERM"),
        "this Redis user lacks a right",
        "give it the rules of `worker` in deploy/redis/users.acl",
    ),
    Advice(("one node of a Cluster",), "", _CLUSTER),
    Advice(
        ("MovedError", "AskError", "ClusterCrossSlotError", "MOVED ", "CROSSSLOT"),
        "this server is one node of a Cluster",
        _CLUSTER,
    ),
    Advice(
        ("is a Sentinel",),
        "",
        f"write redis+sentinel://host:26379/SERVICE for redis:// in {_URL}, with the name of the watched service",
    ),
    Advice(
        ("cluster support disabled",), "this server is no Cluster", f"write redis:// for redis+cluster:// in {_URL}"
    ),
    Advice(
        ("MasterDownError", "MASTERDOWN"), "this replica has no master now", "see its master, and the link between them"
    ),
    Advice(
        ("ClusterDownError", "CLUSTERDOWN"),
        "the Cluster does not serve now",
        "see CLUSTER INFO on its nodes: a slot has no server, or too few are up",
    ),
    Advice(
        ("No such master with that name", "the master is down"),
        "the Sentinels name no master",
        "write the service as in their `sentinel monitor` line, behind the / of the URL; see SENTINEL MASTERS",
    ),
    Advice(
        ("unknown command 'SENTINEL'", "unknown command `SENTINEL`"),
        "what is named there is no Sentinel",
        f"name the Sentinels in {_URL}, or write redis:// for a single server",
    ),
    Advice(
        ("unknown command", "Unknown command", "Unknown Redis command", "unknown subcommand", "Unknown subcommand"),
        "Redis does not know a command that a worker needs",
        "allow it where it was renamed or switched off (rename-command), install Redis 7.0 or later or Valkey, "
        "or write redis+sentinel:// if a Sentinel listens there",
    ),
    Advice(
        ("WRONGTYPE",),
        "a key holds another type than a worker writes",
        "see makima-tts queue status; makima-tts queue repair mends it",
    ),
    Advice(
        ("max number of clients", "MaxClientsError"),
        "Redis has as many clients as it may have",
        "raise its maxclients, or end clients that nobody needs",
    ),
    Advice(
        ("DENIED",),
        "Redis is in protected mode and takes clients of its own machine only",
        "give its users passwords, or set `protected-mode no` where strangers cannot reach it",
    ),
    Advice(
        ("without any password configured",),
        "Redis has no password, and one was sent",
        "leave MAKIMA_TTS_REDIS_PASSWORD and MAKIMA_TTS_REDIS_PASSWORD_FILE out, or set a password in Redis",
    ),
    Advice(
        ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "NOAUTH", "WRONGPASS"),
        "Redis does not take this user and password",
        "set MAKIMA_TTS_REDIS_USERNAME and MAKIMA_TTS_REDIS_PASSWORD_FILE to what the ACL file says",
    ),
    Advice(("BUSY Redis",), "a script keeps Redis busy", "wait, or end it: redis-cli SCRIPT KILL"),
    Advice(("OutOfMemoryError", "OOM "), "Redis is out of memory", "raise its maxmemory, or delete what nobody needs"),
    Advice(("MISCONF",), "Redis cannot write to its disk", "see its log and the free space of its disk"),
    Advice(("BusyLoadingError", "LOADING"), "Redis is loading its data", "wait"),
    Advice(
        ("ReadOnlyError", "READONLY"),
        "this server is a replica and takes no writes",
        f"name its master in {_URL}, or its Sentinels",
    ),
    Advice(("NOREPLICAS",), "Redis has too few replicas to take writes", "start them, or lower min-replicas-to-write"),
    Advice(
        ("certificate is not valid for",), _NOT_BELIEVED, f"name the host that the certificate is made out to in {_URL}"
    ),
    Advice(("certificate has expired",), _NOT_BELIEVED, "renew the server's certificate, or its authority's"),
    Advice(
        ("certificate is not yet valid",), _NOT_BELIEVED, "set this machine's clock, or renew the server's certificate"
    ),
    Advice(
        ("certificate verify failed", "no certificate or crl found"),
        _NOT_BELIEVED,
        "set MAKIMA_TTS_REDIS_CA_FILE to a PEM file with the authority that signed the server's certificate",
    ),
    Advice(
        ("PEM lib", "key values mismatch"),
        "our certificate and key cannot be used",
        f"set {_OWN} to a certificate and its own key, both PEM",
    ),
    Advice(
        ("alert certificate required", "alert handshake failure", "alert unknown ca", "alert bad certificate"),
        "the server refuses our certificate, or that we have none",
        f"set {_OWN} to a certificate that the server's authority signed, and its key",
    ),
    Advice(("wrong version number", "record layer failure"), "the server does not speak TLS", _WITHOUT_TLS),
    Advice(
        ("is no Redis", "Protocol error", "Protocol Error", "InvalidResponse"),
        "what answers there is no Redis",
        f"see host and port in {_URL}; {_WITH_TLS}",
    ),
    Advice(("Timeout connecting to server", "no connection within"), "no connection in time", _WITHOUT_TLS),
    Advice(
        ("Timeout reading from", "no answer within"),
        "the server does not answer",
        f"see its log and its load; {_WITH_TLS}",
    ),
    Advice(
        ("Name or service not known", "name resolution", "No address associated", "'idna' codec"),
        "the host's name cannot be looked up",
        f"see the name in {_URL}, and this machine's DNS",
    ),
    Advice(
        ("Connect call failed", "Connection refused", "Multiple exceptions"),
        "nobody listens there",
        "start Redis there, or set MAKIMA_TTS_REDIS_URL or --redis-url; makima-tts dev brings its own",
    ),
    Advice(
        ("no first answer", "Error while reading from", "while writing to socket", "Connection closed by server"),
        "the server closed the connection before its first answer",
        _WITH_TLS,
    ),
)


def advice_on(error: BaseException) -> Advice | None:
    """What its class or words, or those of what caused it, say; None where nothing is known."""
    said = " ".join(f"{name} {one}" for one in _chain(error) for name in _names(one))
    return next((advice for advice in _TABLE if any(sign in said for sign in advice.signs)), None)


def sentence_on(error: BaseException) -> str:
    """One line for logs and health checks: what is wrong, in the server's words, and what to do."""
    said = said_by(error)
    advice = advice_on(error)
    if advice is None:
        return f"{type(error).__name__}: {said}" if str(error) else said
    what = f"{advice.problem} ({_cut(said, 200)})" if advice.problem else said
    return f"{what}; {advice.remedy}"


def said_by(error: BaseException) -> str:
    """The error's own words in one line of bounded length, or its class."""
    return _cut(" ".join(str(error).split()), 300) or type(error).__name__


def _cut(words: str, n_chars: int) -> str:
    return words if len(words) <= n_chars else f"{words[: n_chars - 3]}..."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _names(error: BaseException) -> list[str]:
    """Of its class and those it is made from."""
    return [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, Exception) and kind is not Exception]
