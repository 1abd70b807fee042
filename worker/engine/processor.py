"""The kind of this machine's processor, which decides how float products are rounded."""

from __future__ import annotations

import os
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


# Instruction sets of oneDNN that multiply no bfloat16; an operator may limit it to one of them.
_WITHOUT_BFLOAT16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


def multiplies_bfloat16() -> bool:
    """Whether this x86-64 processor has instructions for products in bfloat16. False where that is unknown."""
    limits = {os.environ.get(name, "").upper() for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")}
    if limits & _WITHOUT_BFLOAT16:
        return False
    try:
        return has_bfloat16(CPUINFO.read_text("utf-8", "replace"))
    except OSError:
        return False


def has_bfloat16(cpuinfo: str) -> bool:
    """The same of the first core in the text of /proc/cpuinfo."""
    flags = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.partition(":")[2].split())
