"""Fails where a dependency of the Rust crate needs a newer Rust than the crate promises.

Packages that state no `rust-version` pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MANIFEST = Path(__file__).resolve().parent.parent / "schemas" / "rust" / "Cargo.toml"


def number(version: str) -> tuple[int, ...]:
    """1.88 and 1.88.0 are equal."""
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def too_new(packages: list[dict[str, Any]], least: str) -> list[str]:
    """A line for each of cargo's packages that needs more than the Rust version `least`."""
    return [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in packages
        if package["rust_version"] and number(package["rust_version"]) > number(least)
    ]


def main() -> None:
    command = ["cargo", "metadata", "--format-version", "1", "--all-features", "--manifest-path", str(MANIFEST)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    packages = json.loads(shown.stdout)["packages"]
    (least,) = [package["rust_version"] for package in packages if package["manifest_path"] == str(MANIFEST)]
    if found := too_new(packages, least):
        remedy = "ask for an older version in Cargo.toml, or raise its rust-version"
        sys.exit("\n".join([f"{MANIFEST} promises Rust {least}; {remedy}:", *found]))


if __name__ == "__main__":
    main()
