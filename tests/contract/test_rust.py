"""The Rust code of the contract's pages compiles, reads the vectors, and works on a server.

`make rust` compiles it in .rust, which takes minutes at the first time; later runs take seconds, also in `make test`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import redis

from tests.conftest import REPOSITORY, Server, make_settings, running
from tests.tone import ToneEngine

VECTORS = REPOSITORY / "schemas" / "vectors"
BUILD = REPOSITORY / ".rust"
PACKAGE = '[package]\nname = "page"\nversion = "0.0.0"\nedition = "2021"\npublish = false\n\n'
IS_WANTED = os.environ.get("RUST") == "1"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the two pages, in their order."""
    pages = "".join((VECTORS / name).read_text() for name in ("relay.md", "commands.md"))
    return re.findall(rf"^```{language}\n(.*?)^```$", pages, re.DOTALL | re.MULTILINE)


def write(path: Path, text: str) -> None:
    """Write a file that differs; cargo builds by the time of the last change."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


async def cargo(*arguments: str, **environment: str) -> str:
    """Run cargo in BUILD and return what it prints."""
    program = shutil.which("cargo")
    assert program is not None, "install Rust: cargo is not on the PATH"
    process = await asyncio.create_subprocess_exec(
        program, *arguments, *([] if IS_WANTED else ["--offline"]), cwd=BUILD,
        env=os.environ | {"VECTORS": str(VECTORS)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        printed = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed
    return printed


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not IS_WANTED and not (BUILD / "target").is_dir(), reason="`make rust` compiles the pages' code")
async def test_the_pages_code_reads_the_vectors_and_works_on_a_server(
    valkey: redis.Redis, valkey_server: Server
) -> None:
    (manifest,) = blocks("toml")
    write(BUILD / "Cargo.toml", PACKAGE + manifest)
    write(BUILD / "src" / "lib.rs", "#![deny(warnings)]\n" + "\n".join(blocks("rust")))
    write(BUILD / "tests" / "live.rs", (Path(__file__).parent / "live.rs").read_text())
    await cargo("test", "--no-run")
    async with running(make_settings(valkey_server.url), ToneEngine(4, frame_s=0.01)):
        printed = await cargo("test", REDIS_URL=valkey_server.url)
    assert len(re.findall(r"test result: ok. [1-9]", printed)) == 2
