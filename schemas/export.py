"""Writes the contract's generated files: json/*.json, asyncapi.yaml and vectors/, from the models alone.

They are committed, so that other languages need no Python; `stale` tells when they no longer follow from the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import asyncapi, documents, golden
from schemas.jobs import VERSION

GENERATED = ("json/*.json", "asyncapi.yaml", "vectors/*.msgpack", "vectors/*.bin", "vectors/index.json")


def export(folder: Path) -> list[Path]:
    """Write every generated file under a folder, which may hold others; deletes nothing, returns the paths written."""
    written = []
    for name, content in _contents().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return written


def stale(folder: Path) -> list[Path]:
    """The generated files under a folder that are missing, changed, or no longer generated (delete those)."""
    paths = {folder / name: content for name, content in _contents().items()}
    changed = [path for path, content in paths.items() if not path.is_file() or path.read_bytes() != content]
    return changed + _strangers(folder)


def _contents() -> dict[str, bytes]:
    contents = {f"json/{stem}.json": _json(schema) for stem, schema in documents.schemas().items()}
    contents["asyncapi.yaml"] = asyncapi.to_yaml(asyncapi.document(f"{VERSION}.0.0")).encode()
    contents |= {f"vectors/{name}": content for name, content in golden.files().items()}
    contents["vectors/index.json"] = _json(golden.index())
    return contents


def _strangers(folder: Path) -> list[Path]:
    names = _contents().keys()
    found = (path for pattern in GENERATED for path in folder.glob(pattern))
    return sorted(path for path in found if path.relative_to(folder).as_posix() not in names)


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
