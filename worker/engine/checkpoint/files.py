"""The files of a Qwen3-TTS model: found, checked and measured without torch and without reading the weights.

The command line, `doctor` and the loader all use this, so that they refuse a model with the same message, and before
torch takes seconds to start.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.engine.base import EngineError
from worker.engine.checkpoint.headers import TensorFile, read_header

RECOMMENDED = "Qwen/Qwen3-TTS-12Hz-0.6B-Base"
CODEC_FOLDER = "speech_tokenizer"
CODEC_FILES = ("config.json", "preprocessor_config.json")
CODEC_TYPE = "qwen3_tts_tokenizer_12hz"
FETCHED = ("*.json", "*.txt", "*.safetensors")  # includes speech_tokenizer/: * matches a slash here
MAX_NAME_CHARS = 64  # of begin.model

_HUB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")


class ModelError(EngineError):
    """The model cannot be loaded or used here."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A complete model directory. name: as in begin.model. codec_config: that of speech_tokenizer/."""

    folder: Path
    name: str
    config: Mapping[str, Any]
    codec_config: Mapping[str, Any]
    files: tuple[TensorFile, ...]

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)

    @property
    def n_numbers(self) -> int:
        """The number of parameters of the model and its codec."""
        return sum(file.n_numbers for file in self.files)

    @property
    def n_codec_numbers(self) -> int:
        """The codec's share of `n_numbers`."""
        return sum(file.n_numbers for file in self.files if file.name.startswith(f"{CODEC_FOLDER}/"))

    def tensors(self, of_the_codec: bool) -> set[str]:
        """Names of the tensors in the model's own files, or in those of speech_tokenizer/."""
        files = (file for file in self.files if file.name.startswith(f"{CODEC_FOLDER}/") == of_the_codec)
        return {tensor for file in files for tensor in file.shapes}

    def fingerprint(self) -> str:
        """SHA-256 over every weights file's name, size and bytes. Raises ModelError."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\0{file.n_bytes}\0".encode())
            try:
                with file.path.open("rb") as stream:
                    while part := stream.read(1 << 22):
                        digest.update(part)
            except OSError as error:
                raise ModelError(f"{file.path} cannot be read ({error.strerror})", _fetch_again()) from None
        return digest.hexdigest()


def read(name: str) -> Weights:
    """A complete model, from a directory or the local hub cache. Raises ModelError."""
    folder = find(name)
    config = _json(folder / "config.json", "this is no model directory")
    _check_type(folder, config)
    missing = list(_missing(folder))
    if missing:
        raise ModelError(f"{folder} is incomplete: it lacks {', '.join(missing)}", _fetch_again(name))
    codec_config = _json(folder / CODEC_FOLDER / "config.json", "the speech tokenizer is missing")
    if codec_config.get("model_type") != CODEC_TYPE:
        raise ModelError(
            f"{folder / CODEC_FOLDER} is a {codec_config.get('model_type')!r}, not {CODEC_TYPE}", f"use {RECOMMENDED}"
        )
    files = [*_weights_files(folder, ""), *_weights_files(folder, f"{CODEC_FOLDER}/")]
    return Weights(folder, shown_name(name), config, codec_config, tuple(sorted(files, key=lambda file: file.name)))


def find(name: str) -> Path:
    """The directory of a model. Uses no network. Raises ModelError."""
    folder = _folder(name)
    if name.strip() and os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises in a folder that this user may not read)
        return folder
    if os.path.isfile(folder):  # noqa: PTH113
        raise ModelError(f"{name} is a file", "name its directory")
    if not is_hub_name(name):
        raise ModelError(f"{name!r} is neither a directory nor a hub name", f"name one, such as {RECOMMENDED}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise ModelError("the package huggingface_hub is missing", "pip install 'makima-tts[qwen]'") from None
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        raise ModelError(
            f"{name} is neither a directory nor in the local hub cache", f"run: makima-tts model fetch {name}"
        ) from None
    except (HFValidationError, OSError) as error:
        raise ModelError(f"{name} cannot be looked up ({first_line(error)})", "name a directory") from None


def _folder(name: str) -> Path:
    """The path with ~ expanded, if there is a home directory."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 (Path.expanduser raises where there is none)


def is_hub_name(name: str) -> bool:
    return _HUB_NAME.fullmatch(name) is not None


def shown_name(name: str) -> str:
    """The last part of a directory or hub name, for begin.model: printable ASCII, at most 64 characters."""
    folder = _folder(name)
    last = folder.resolve().name if os.path.isdir(folder) else name.rpartition("/")[2]  # noqa: PTH112
    plain = "".join(char if char.isascii() and char.isprintable() else "_" for char in last)
    return plain[:MAX_NAME_CHARS] or "qwen3-tts"


def _check_type(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("model_type") != "qwen3_tts":
        raise ModelError(f"{folder} holds a {config.get('model_type')!r} model, not qwen3_tts", f"use {RECOMMENDED}")
    if config.get("tts_model_type") != "base":
        raise ModelError(
            f"{folder} holds a {config.get('tts_model_type')!r} model, which cannot speak with a voice from a "
            "recording",
            f"use a Base model such as {RECOMMENDED}",
        )
    if config.get("tokenizer_type") != CODEC_TYPE:
        raise ModelError(
            f"{folder} speaks in codes of {config.get('tokenizer_type')!r}, not {CODEC_TYPE}",
            f"use a 12Hz model such as {RECOMMENDED}",
        )


def _missing(folder: Path) -> Iterator[str]:
    codec = f"{CODEC_FOLDER}/"
    wanted = (
        "generation_config.json",
        "tokenizer_config.json",
        f"{codec}config.json",
        f"{codec}preprocessor_config.json",
    )
    yield from (name for name in wanted if not (folder / name).is_file())
    if not (folder / "tokenizer.json").is_file():
        yield from (name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file())
    for part in ("", codec):
        names = (f"{part}model.safetensors", f"{part}model.safetensors.index.json")
        if not any((folder / name).is_file() for name in names):
            yield names[0]


def _weights_files(folder: Path, part: str) -> Iterator[TensorFile]:
    """The single file, or the shards that the index names."""
    index = folder / f"{part}model.safetensors.index.json"
    names = ["model.safetensors"]
    if not (folder / f"{part}model.safetensors").is_file():
        shards = _json(index, "its index of weights is missing").get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ModelError(f"{index} names no weights", _fetch_again())
        names = sorted({str(name) for name in shards.values()})
    for name in names:
        yield _weights_file(folder / part / name, f"{part}{name}")


def _weights_file(path: Path, name: str) -> TensorFile:
    try:
        return read_header(path, name)
    except ImportError:
        raise ModelError("the package safetensors is missing", "pip install 'makima-tts[qwen]'") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})", _fetch_again()) from None
    except ValueError as error:
        raise ModelError(f"{path} is damaged ({error})", _fetch_again()) from None


def _json(path: Path, without: str) -> dict[str, Any]:
    """The JSON object in this file. Raises ModelError; `without`: what a missing file means."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path} is missing: {without}", f"name the directory with config.json, or {_fetch_again()}"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror})", "let this user read it") from None
    except (ValueError, RecursionError):
        raise ModelError(f"{path} is not JSON", _fetch_again()) from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a JSON object", _fetch_again())
    return found


def _fetch_again(name: str = "") -> str:
    what = name if is_hub_name(name) and not Path(name).is_dir() else "NAME"
    return f"fetch it again: makima-tts model fetch {what}"


def first_line(error: BaseException) -> str:
    """The first line of the error's text; texts of torch and the hub are a page long."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
