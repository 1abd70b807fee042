"""The rights of each user in deploy/redis/users.acl: every command, and on which keys."""

from __future__ import annotations

SESSION, ENTRY = "s1", "1700000000000-0"
JOBS, DEAD, BELL, WORKERS = (f"makima:{{speak}}:{name}" for name in ("jobs", "dead", "bell", "workers"))
READY, DELAYED, GATES, WAITING, ATTEMPTS = (
    f"makima:{{speak}}:{name}" for name in ("ready", "delayed", "gates", "waiting", "attempts")
)
TAKEN, SWEEPING, ASIDE = (f"makima:{{speak}}:{name}" for name in ("taken", "sweeping", "aside:1700000000000:gates"))
SEEN = "makima:{speak}:seen:" + "0" * 40
AUDIO, CUT, JOB, TEXT = (f"makima:{{{SESSION}}}:{name}" for name in ("audio", "cut", f"job:{ENTRY}", "text:j1"))

JOB_PLANE = (JOBS, READY, DELAYED, GATES, WAITING, ATTEMPTS, BELL, DEAD, WORKERS, TAKEN, SWEEPING, ASIDE, SEEN)
SESSION_PLANE = (AUDIO, CUT, JOB, TEXT)
AUDIO_OF_SPEAK, CUT_OF_SPEAK, JOB_OF_SPEAK, TEXT_OF_SPEAK = (  # a session may be named like the job plane's hash tag
    f"makima:{{speak}}:{name}" for name in ("audio", "cut", f"job:{ENTRY}", "text:j1")
)
SPEAKS_PLANE = (AUDIO_OF_SPEAK, CUT_OF_SPEAK, JOB_OF_SPEAK, TEXT_OF_SPEAK)
NOBODYS = (
    "other",
    "other:{speak}:jobs",
    "other:{s1}:audio",
    "makima",
    "makima:jobs",
    "makima:s1:audio",
    "makima:{speak}",
    "makima:{s1}",
    "makima2:{speak}:jobs",
    "xmakima:{speak}:jobs",
    "makima:staging:{speak}:jobs",
    "makima:staging:{s1}:audio",
    "MAKIMA:{speak}:jobs",
    "{speak}:jobs",
    "",
)
UNKNOWN_OF_JOBS = ("makima:{speak}:jobs2", "makima:{speak}:secret")
UNKNOWN = (
    *UNKNOWN_OF_JOBS,
    "makima:{s1}:jobs",
    "makima:{s1}:audio2",
    "makima:{s1}:dead",
    "makima:{s1}:text",
)
CHANNELS = (AUDIO, AUDIO_OF_SPEAK, CUT)
NOBODYS_CHANNELS = ("makima", "xmakima:{s1}:audio", "other:{s1}:audio", "__keyevent@0__:set", "")


def _set(words: str) -> set[str]:
    return set(words.split())


# Redis lets everybody send these, before and after the log-in; HELLO and AUTH ask for a password.
EVERYBODY = _set("auth hello quit reset")
CONNECTED = _set("ping select cluster|slots asking")  # a database's number, and a Cluster's map
LIBRARY = CONNECTED | _set(  # other languages' Cluster and Sentinel clients ask for these
    "role command command|count command|docs command|getkeys command|getkeysandflags command|help command|info"
    " command|list"
)

KEYLESS: dict[str, set[str]] = {
    "default": set(),
    "health": {"ping"},
    "producer": LIBRARY,
    "relay": LIBRARY | _set("time multi exec"),
    "worker": CONNECTED | _set("time script|load"),
    "operator": CONNECTED | _set("time multi exec info scan script|load"),
}

OF_JOB_SCRIPTS = _set(
    "exists get hdel hexists hget hlen hscan hset lindex llen lpop lpos lrange pexpire pttl rename rpush set type xack"
    " xadd xclaim xdel xgroup|delconsumer xinfo|consumers xinfo|stream xpending xrange xrevrange zadd"
    " zcard zrange zrangebylex zrangebyscore zrem zscan zscore"
)
OF_THE_WORKER_ITSELF = _set("eval evalsha get hdel hset llen set xgroup|create xlen xpending xrange xread zcard")
OF_SESSION_SCRIPTS = _set("exists hmget hset pexpire pttl xadd xinfo|stream xrevrange")
OF_THE_SESSION_WRITER = _set("eval evalsha xrevrange")  # its scripts write
OF_TEXT_IN_SCRIPTS = _set("type pttl pexpire")
OF_A_JOB_THAT_WAITS = _set("xread type")  # xread: of the text and the audio together
READING = _set(
    "get getrange hget hgetall hlen hscan llen lpos lrange mget pttl scard strlen type xinfo|groups xinfo|stream"
    " xlen xpending xrange xrevrange zcard zrange zrangebylex zscan zscore"
)
OF_REPAIR = _set("del eval evalsha lrem persist xgroup|create xgroup|destroy xgroup|setid xlen xtrim")  # and of redrive

Rights = dict[str, set[str]]  # {key: commands that may name it}


def _each(keys: tuple[str, ...], commands: set[str]) -> Rights:
    return dict.fromkeys(keys, commands)


ON_KEYS: dict[str, Rights] = {
    "default": {},
    "health": {},
    "producer": {JOBS: _set("xadd")} | _each((TEXT, TEXT_OF_SPEAK), _set("xadd pexpire")),
    "relay": _each((AUDIO, AUDIO_OF_SPEAK), _set("xread xrevrange xadd xtrim pexpire"))
    | _each((CUT, CUT_OF_SPEAK, TEXT, TEXT_OF_SPEAK), _set("xadd pexpire"))
    | {JOBS: _set("xadd")},
    "worker": _each(JOB_PLANE, OF_JOB_SCRIPTS | OF_THE_WORKER_ITSELF)
    | _each((CUT, JOB, CUT_OF_SPEAK, JOB_OF_SPEAK), OF_SESSION_SCRIPTS | OF_THE_SESSION_WRITER)
    | _each((AUDIO, AUDIO_OF_SPEAK), OF_SESSION_SCRIPTS | OF_THE_SESSION_WRITER | OF_A_JOB_THAT_WAITS)
    | _each((TEXT, TEXT_OF_SPEAK), OF_TEXT_IN_SCRIPTS | OF_A_JOB_THAT_WAITS | _set("eval evalsha")),
    "operator": _each(SESSION_PLANE + UNKNOWN, READING)
    | _each(JOB_PLANE + SPEAKS_PLANE + UNKNOWN_OF_JOBS, READING | OF_JOB_SCRIPTS | OF_REPAIR)
    | _each((AUDIO, CUT), READING | _set("xadd pexpire")),
}

ON_CHANNELS: dict[str, set[str]] = {  # what may name a channel that begins with makima:
    "default": set(),
    "health": set(),
    "producer": set(),
    "relay": _set("subscribe ssubscribe unsubscribe sunsubscribe"),
    "worker": _set("publish spublish"),
    "operator": set(),
}
CALLS_ON_CHANNELS = {
    "publish": "PUBLISH {channel} 1",
    "spublish": "SPUBLISH {channel} 1",
    "subscribe": "SUBSCRIBE {channel}",
    "ssubscribe": "SSUBSCRIBE {channel}",
    "psubscribe": "PSUBSCRIBE {channel}",
}

# One call of each command that anybody has, with a key where it takes one.
CALLS = {
    "del": "DEL {key}",
    "eval": "EVAL x 1 {key}",
    "evalsha": "EVALSHA x 1 {key}",
    "exists": "EXISTS {key}",
    "get": "GET {key}",
    "getrange": "GETRANGE {key} 0 1",
    "hdel": "HDEL {key} f",
    "hexists": "HEXISTS {key} f",
    "hget": "HGET {key} f",
    "hgetall": "HGETALL {key}",
    "hlen": "HLEN {key}",
    "hmget": "HMGET {key} f",
    "hscan": "HSCAN {key} 0",
    "hset": "HSET {key} f 1",
    "lindex": "LINDEX {key} 0",
    "llen": "LLEN {key}",
    "lpop": "LPOP {key}",
    "lpos": "LPOS {key} 1",
    "lrange": "LRANGE {key} 0 -1",
    "lrem": "LREM {key} 0 1",
    "mget": "MGET {key}",
    "persist": "PERSIST {key}",
    "pexpire": "PEXPIRE {key} 1",
    "pttl": "PTTL {key}",
    "rename": "RENAME {key} {key}",
    "rpush": "RPUSH {key} 1",
    "scard": "SCARD {key}",
    "set": "SET {key} 1 NX PX 1",
    "strlen": "STRLEN {key}",
    "type": "TYPE {key}",
    "xack": "XACK {key} workers 1-1",
    "xadd": "XADD {key} * f 1",
    "xclaim": "XCLAIM {key} workers w 0 1-1 JUSTID",
    "xdel": "XDEL {key} 1-1",
    "xgroup|create": "XGROUP CREATE {key} workers 0 MKSTREAM",
    "xgroup|delconsumer": "XGROUP DELCONSUMER {key} workers w",
    "xgroup|destroy": "XGROUP DESTROY {key} workers",
    "xgroup|setid": "XGROUP SETID {key} workers $",
    "xinfo|consumers": "XINFO CONSUMERS {key} workers",
    "xinfo|groups": "XINFO GROUPS {key}",
    "xinfo|stream": "XINFO STREAM {key}",
    "xlen": "XLEN {key}",
    "xpending": "XPENDING {key} workers",
    "xrange": "XRANGE {key} - +",
    "xread": "XREAD BLOCK 1 STREAMS {key} 0",
    "xrevrange": "XREVRANGE {key} + - COUNT 1",
    "xtrim": "XTRIM {key} MINID 1-1",
    "zadd": "ZADD {key} 0 m",
    "zcard": "ZCARD {key}",
    "zrange": "ZRANGE {key} 0 -1",
    "zrangebylex": "ZRANGEBYLEX {key} - +",
    "zrangebyscore": "ZRANGEBYSCORE {key} -inf 1",
    "zrem": "ZREM {key} m",
    "zscan": "ZSCAN {key} 0",
    "zscore": "ZSCORE {key} m",
}


def may_send(user: str) -> set[str]:
    """Every command that this user may send at all."""
    return (
        EVERYBODY
        | KEYLESS[user]
        | ON_CHANNELS[user]
        | {command for commands in ON_KEYS[user].values() for command in commands}
    )
