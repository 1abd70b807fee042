"""The problem and the remedy for each error of Redis: the same sentences in logs, in `/readyz` and in commands.

An error is recognised by its class or code, and by its text where the server or OpenSSL gives neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_URL = "MAKIMA_TTS_REDIS_URL or MAKIMA_TTS_SESSION_REDIS_URL"
_OWN = "MAKIMA_TTS_REDIS_CERT_FILE and MAKIMA_TTS_REDIS_KEY_FILE"
_WITH_TLS = f"if it uses TLS, write rediss:// in {_URL}; if it requires client certificates, set {_OWN}"
_WITHOUT_TLS = f"start Redis there; if it does not use TLS, write redis:// in {_URL}"
_CLUSTER = f"write redis+cluster:// (with TLS rediss+cluster://) instead of redis:// in {_URL}"
_UNTRUSTED = "the server's certificate is not trusted"


@dataclass(frozen=True, slots=True)
class Advice:
    """The problem and the remedy for one kind of error.

    signs: names of error classes, and parts of error texts; any of them is enough. problem: "" where the error's own
    text states it. remedy: what to do.
    """

    signs: tuple[str, ...]
    problem: str
    remedy: str


# The first match counts, so specific entries come before general ones.
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
        f"write redis+sentinel://host:26379/SERVICE instead of redis:// in {_URL}, with the service's name",
    ),
    Advice(
        ("cluster support disabled",),
        "this server is not part of a Cluster",
        f"write redis:// instead of redis+cluster:// in {_URL}",
    ),
    Advice(
        ("MasterDownError", "MASTERDOWN"),
        "this replica has no link to its master",
        "check the master, and the network between them",
    ),
    Advice(
        ("ClusterDownError", "CLUSTERDOWN"),
        "the Cluster does not serve",
        "check CLUSTER INFO on its nodes: a slot has no server, or too few servers are up",
    ),
    Advice(
        ("No such master with that name", "the master is down"),
        "the Sentinels name no master",
        "write the service behind the / of the URL as in their `sentinel monitor` line; SENTINEL MASTERS lists them",
    ),
    Advice(
        ("unknown command 'SENTINEL'", "unknown command `SENTINEL`"),
        "the server in the URL is no Sentinel",
        f"name the Sentinels in {_URL}, or write redis:// for a single server",
    ),
    Advice(
        ("unknown command", "Unknown command", "Unknown Redis command", "unknown subcommand", "Unknown subcommand"),
        "Redis does not know a command that a worker needs",
        "enable it if rename-command disabled it, install Redis 7.0 or later or Valkey, or write redis+sentinel:// "
        "if a Sentinel listens there",
    ),
    Advice(
        ("WRONGTYPE",),
        "a key holds another type than a worker writes",
        "check makima-tts queue status, and run makima-tts queue repair",
    ),
    Advice(
        ("max number of clients", "MaxClientsError"),
        "Redis has reached its limit of clients",
        "raise its maxclients, or close unused clients",
    ),
    Advice(
        ("DENIED",),
        "Redis is in protected mode and accepts clients of its own machine only",
        "give its users passwords, or set `protected-mode no` if no untrusted network reaches it",
    ),
    Advice(
        ("without any password configured",),
        "Redis has no password, and the worker sent one",
        "leave MAKIMA_TTS_REDIS_PASSWORD and MAKIMA_TTS_REDIS_PASSWORD_FILE unset, or set a password in Redis",
    ),
    Advice(
        ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "NOAUTH", "WRONGPASS"),
        "Redis rejects this user and password",
        "set MAKIMA_TTS_REDIS_USERNAME and MAKIMA_TTS_REDIS_PASSWORD_FILE as in the ACL file of Redis",
    ),
    Advice(("BUSY Redis",), "a script keeps Redis busy", "wait, or end the script with redis-cli SCRIPT KILL"),
    Advice(("OutOfMemoryError", "OOM "), "Redis is out of memory", "raise its maxmemory, or delete unused keys"),
    Advice(("MISCONF",), "Redis cannot write to its disk", "check its log and the free space of its disk"),
    Advice(("BusyLoadingError", "LOADING"), "Redis is loading its data", "wait until it has loaded"),
    Advice(
        ("ReadOnlyError", "READONLY"),
        "this server is a replica and accepts no writes",
        f"name its master in {_URL}, or its Sentinels",
    ),
    Advice(
        ("NOREPLICAS",), "Redis has too few replicas to accept writes", "start them, or lower min-replicas-to-write"
    ),
    Advice(("certificate is not valid for",), _UNTRUSTED, f"write a host name of the certificate in {_URL}"),
    Advice(("certificate has expired",), _UNTRUSTED, "renew the server's certificate, or its authority's"),
    Advice(
        ("certificate is not yet valid",), _UNTRUSTED, "set this machine's clock, or renew the server's certificate"
    ),
    Advice(
        ("certificate verify failed", "no certificate or crl found"),
        _UNTRUSTED,
        "set MAKIMA_TTS_REDIS_CA_FILE to a PEM file with the authority that signed the server's certificate",
    ),
    Advice(
        ("PEM lib", "key values mismatch"),
        "the worker's certificate and key cannot be used",
        f"set {_OWN} to a certificate and its key, both PEM",
    ),
    Advice(
        ("alert certificate required", "alert handshake failure", "alert unknown ca", "alert bad certificate"),
        "the server requires a client certificate, and rejects the worker's or its absence",
        f"set {_OWN} to a certificate that the server's authority signed, and its key",
    ),
    Advice(("wrong version number", "record layer failure"), "the server does not use TLS", _WITHOUT_TLS),
    Advice(
        ("not a Redis server", "Protocol error", "Protocol Error", "InvalidResponse"),
        "the server is not a Redis server",
        f"check host and port in {_URL}; {_WITH_TLS}",
    ),
    Advice(("Timeout connecting to server", "no connection within"), "no connection in time", _WITHOUT_TLS),
    Advice(
        ("Timeout reading from", "no answer within"),
        "the server does not answer",
        f"check its log and its load; {_WITH_TLS}",
    ),
    Advice(
        ("Name or service not known", "name resolution", "No address associated", "'idna' codec"),
        "the host's name cannot be looked up",
        f"check the name in {_URL}, and this machine's DNS",
    ),
    Advice(
        ("Connect call failed", "Connection refused", "Multiple exceptions"),
        "nothing listens on this host and port",
        "start Redis there, or set MAKIMA_TTS_REDIS_URL or --redis-url; makima-tts dev starts one of its own",
    ),
    Advice(
        ("no first answer", "Error while reading from", "while writing to socket", "Connection closed by server"),
        "the server closed the connection before its first answer",
        _WITH_TLS,
    ),
)


def advice_on(error: BaseException) -> Advice | None:
    """The first entry that matches the error or one of its causes; None without a match."""
    text = " ".join(f"{name} {one}" for one in _chain(error) for name in _names(one))
    return next((advice for advice in _TABLE if any(sign in text for sign in advice.signs)), None)


def sentence_on(error: BaseException) -> str:
    """One line for logs and health checks: the problem, with the server's text, and the remedy."""
    text = text_of(error)
    advice = advice_on(error)
    if advice is None:
        return f"{type(error).__name__}: {text}" if str(error) else text
    problem = f"{advice.problem} ({_cut(text, 200)})" if advice.problem else text
    return f"{problem}; {advice.remedy}"


def text_of(error: BaseException) -> str:
    """The error's own text in one line of at most 300 characters, or the name of its class."""
    return _cut(" ".join(str(error).split()), 300) or type(error).__name__


def _cut(text: str, n_chars: int) -> str:
    return text if len(text) <= n_chars else f"{text[: n_chars - 3]}..."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _names(error: BaseException) -> list[str]:
    """The names of its class and of the classes that it derives from."""
    return [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, Exception) and kind is not Exception]
