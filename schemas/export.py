"""Writes the contract's generated files from the models: json/*.json, asyncapi*.yaml, vectors/, and docs/errors.md.

They are committed, so that other languages need no Python; `stale` lists those that no longer follow from the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas import asyncapi, documents, error_page, golden, golden_heard, golden_sockets, golden_streams
from schemas.errors import MakimaError
from schemas.jobs import VERSION

GENERATED = (
    "json/*.json", "asyncapi*.yaml", "vectors/*.msgpack", "vectors/*.bin", "vectors/*.json", "vectors/streams/*.json",
    "vectors/sockets/*.json",
)  # fmt: skip


def export(folder: Path, docs: Path | None = None) -> list[Path]:
    """Write every generated file and return their paths; delete nothing.

    folder: for json/, vectors/ and asyncapi.yaml. docs: for errors.md, which is left out when None.
    """
    contents = _contents(folder, docs)
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return list(contents)


def stale(folder: Path, docs: Path | None = None) -> list[Path]:
    """The generated files that are missing, changed, or no longer generated (delete those). Arguments: as `export`."""
    contents = _contents(folder, docs)
    changed = [path for path, content in contents.items() if not path.is_file() or path.read_bytes() != content]
    left_over = (path for pattern in GENERATED for path in folder.glob(pattern) if path not in contents)
    return changed + sorted(left_over)


def _contents(folder: Path, docs: Path | None) -> dict[Path, bytes]:
    contents = {folder / f"json/{stem}.json": _json(schema) for stem, schema in documents.schemas().items()}
    contents[folder / "asyncapi.yaml"] = _yaml(asyncapi.document(f"{VERSION}.0.0"))
    contents[folder / "asyncapi-relay.yaml"] = _yaml(asyncapi.relay_document(f"{VERSION}.0.0"))
    contents |= {folder / f"vectors/{name}": content for name, content in golden.files().items()}
    contents[folder / "vectors/index.json"] = _json(golden.index())
    contents[folder / "vectors/heard.json"] = _json(golden_heard.heard())
    for name, stream in golden_streams.streams().items():
        contents[folder / f"vectors/streams/{name}.json"] = _json_lines(stream)
    for name, socket in golden_sockets.sockets().items():
        contents[folder / f"vectors/sockets/{name}.json"] = _json_lines(socket)
    if docs is not None:
        contents[docs / "errors.md"] = error_page.page().encode()
    return contents


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _json_lines(stream: dict[str, Any]) -> bytes:
    """A golden stream or socket, one step a line."""
    steps = ",\n".join(f"    {json.dumps(step, ensure_ascii=False)}" for step in stream["steps"])
    note = json.dumps(stream["note"], ensure_ascii=False)
    return f'{{\n  "note": {note},\n  "steps": [\n{steps}\n  ]\n}}\n'.encode()


def _yaml(document: Any) -> bytes:
    """YAML without anchors. Raises MakimaError without PyYAML, which only those who change the contract need."""
    try:
        import yaml
    except ImportError:
        raise MakimaError("PyYAML is not installed", "pip install 'makima-tts[dev]'") from None
    unshared = json.loads(json.dumps(document))  # PyYAML writes an anchor for an object that stands in two places
    text: str = yaml.safe_dump(unshared, sort_keys=False, allow_unicode=True, width=120)
    return text.encode()
