"""The Rust code of the contract's pages compiles, reads the vectors, and works on a server.

`make rust` compiles it in .rust, which takes minutes at the first time; later runs take seconds, also in `make test`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import redis

from tests.conftest import REPOSITORY, Server

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


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not IS_WANTED and not (BUILD / "target").is_dir(), reason="`make rust` compiles the pages' code")
def test_the_pages_code_reads_the_vectors_and_works_on_a_server(valkey: redis.Redis, valkey_server: Server) -> None:
    cargo = shutil.which("cargo")
    assert cargo is not None, "install Rust: cargo is not on the PATH"
    (manifest,) = blocks("toml")
    write(BUILD / "Cargo.toml", PACKAGE + manifest)
    write(BUILD / "src" / "lib.rs", "#![deny(warnings)]\n" + "\n".join(blocks("rust")))
    write(BUILD / "tests" / "live.rs", (Path(__file__).parent / "live.rs").read_text())
    command = [cargo, "test", "--quiet", *([] if IS_WANTED else ["--offline"])]
    environment = os.environ | {"VECTORS": str(VECTORS), "REDIS_URL": valkey_server.url}
    run = subprocess.run(command, cwd=BUILD, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(re.findall(r"test result: ok. [1-9]", run.stdout)) == 2
    assert valkey.xlen("makima:{speak}:jobs") == 1
