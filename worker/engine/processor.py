"""The kind of this machine's processor, which decides how float products are rounded."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# The keys of /proc/cpuinfo that name a kind of core, on x86-64 and on arm64.
_KEYS = (("vendor_id", "cpu family", "model"), ("CPU implementer", "CPU part"))


@cache
def processor() -> str:
    """For example `x86_64-AuthenticAMD-25-17`, `aarch64-0x41-0xd40` or `arm64-Apple-M2`: no spaces, stable."""
    try:
        kind = kind_of(CPUINFO.read_text("utf-8", "replace"))
    except OSError:
        kind = ""
    return printable("-".join(filter(None, (platform.machine(), kind or platform.processor()))))


def kind_of(cpuinfo: str) -> str:
    """Vendor, family and model of the first core in the text of /proc/cpuinfo; "" if it names none."""
    first = cpuinfo.strip().partition("\n\n")[0]
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    return next(("-".join(values[key] for key in keys) for keys in _KEYS if all(values.get(key) for key in keys)), "")


def printable(name: str) -> str:
    """The name with `-` for every run of spaces and characters that are not printable ASCII."""
    return re.sub(r"[^!-~]+", "-", name)
