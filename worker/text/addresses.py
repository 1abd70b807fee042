"""Addresses: a URL is spoken as its host."""

from __future__ import annotations

import re

# Top-level domains before a slash. Without py, md, sh, rs and ps, which end the names of files.
_DOMAINS = """com org net edu gov mil int info biz io ai app dev co me tv xyz site online store tech blog news shop club
    page wiki cloud link eu name pro mobi travel museum jobs social live world today life design art studio media space
    ac ad ae af ag al am ar at au az ba bd be bg bh bo br by bz ca ch ci cl cm cn cr cu cy cz de dk do dz ec ee eg es et
    fi fj fm fr ga ge gg gh gl gr gt hk hn hr ht hu id ie il im in iq ir is it je jm jo jp ke kg kh kr kw ky kz la lb li
    lk lt lu lv ly ma mc mg mk mm mn mo mt mu mv mx my mz na ng ni nl no np nu nz om pa pe pf pg ph pk pl pr pt pw qa re
    ro ru rw sa sc sd se sg si sk sm sn so sr st su sv sy th tj tk tm tn to tr tt tw tz ua ug uk us uy uz va vc ve vg vi
    vn vu ws ye za zm zw рф"""
_LETTER = r"A-Za-z0-9\u00c0-\u024f\u0370-\u052f"
_PATH = rf"(?:[{_LETTER}._~:/?#\[\]@!$&'()*+,;=%-]*[{_LETTER}/=_~&#+%-])?"
TARGET = r"\((?=[^()\s]*[./#:]|\))(?:[^()\n]|\([^()\n]*\))*\)"  # of a Markdown link
_URL = re.compile(
    r"(?=[hfwm])(?<![A-Za-z0-9])(?:(?:https?|ftp|wss?)://(?:[A-Za-z0-9._~%!$&'*+,;=:-]*@)?(?:www\.)*|(?:www\.)+)"
    rf"(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)?(?P<rest>:\d+|)(?:[/?#]{_PATH})?"
    r"|(?<![A-Za-z0-9])mailto:",
    re.IGNORECASE,
)
_MAY_BE_BARE = re.compile(r"\.[a-zрф]{2,8}(?::\d{1,5})?/")
_BARE = re.compile(
    rf"(?<![A-Za-z0-9@._/\u00c0-\u052f-])(?P<host>(?:[A-Za-z0-9\u00c0-\u024f\u0400-\u04ff-]{{1,63}}\.){{1,8}}"
    rf"(?:{'|'.join(_DOMAINS.split())}))(?::\d{{1,5}})?/{_PATH}"
)


def shortened(text: str) -> str:
    """The text with each URL as its host. Without a scheme a known top-level domain and a slash make a URL."""
    if "://" in text or "www." in (lower := text.lower()) or "mailto:" in lower:
        text = _URL.sub(_host, text)
    return _BARE.sub(_host, text) if _MAY_BE_BARE.search(text) else text


def _host(url: re.Match[str]) -> str:
    return url["host"] or ""
