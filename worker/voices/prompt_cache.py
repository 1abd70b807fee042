"""A folder of prompts, one safetensors file each, that any number of workers can share.

A file is written under another name and then moved, so that it is complete or missing. Its checksum is compared before
it is used, and nothing is unpickled. A problem with the folder is logged and not raised: the caller builds the prompt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from schemas.errors import MakimaError

FORMAT = "makima-tts prompt file 1"
MAX_FILE_BYTES = 256 * 1024 * 1024  # a prompt of 60 s in float64, with the codec's state, has 11 MB
ABANDONED_S = 3600.0  # an unfinished file this old was left by a worker that was killed

Tensors: TypeAlias = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


class _Unusable(MakimaError):
    """A file of the cache that cannot be used. Never leaves this module."""


@dataclass(frozen=True, slots=True)
class PromptCache:
    """The prompts of a folder, by voice and fingerprint. The folder is created by the first `store`."""

    folder: Path

    def file_of(self, voice: str, key: str) -> Path:
        """The path for this voice and fingerprint. key: 64 hex digits."""
        return self.folder / f"{voice}-{key[:16]}.safetensors"

    def load(self, voice: str, key: str) -> Tensors | None:
        """The stored tensors, or None. The log has the reason when a file exists that cannot be used."""
        file = self.file_of(voice, key)
        try:
            return _checked(_bytes_of(file), key)
        except FileNotFoundError:
            if self._has_others_of(voice):
                log.info("the cached prompt of %s is of another recording, transcript, model or dtype", voice)
        except _Unusable as error:
            log.warning("%s %s; the prompt is built again", file, error)
        except OSError as error:
            log.warning("%s cannot be read (%s); the prompt is built again", file, error.strerror)
        return None

    def store(self, voice: str, key: str, tensors: Tensors, about: Mapping[str, str] | None = None) -> None:
        """Store tensors (of numpy's own dtypes) for the next start. about: more metadata, for people."""
        from safetensors.numpy import save

        tensors = {name: np.require(tensor, requirements="C") for name, tensor in tensors.items()}
        written_by_us = {"format": FORMAT, "voice": voice, "key": key, "sha256": _checksum(tensors)}
        data = save(dict(tensors), metadata={**(about or {}), **written_by_us})
        file = self.file_of(voice, key)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._drop_abandoned()
            _write_whole(file, data)
        except OSError as error:
            log.warning("%s cannot be written (%s); the next start builds it again", file, error.strerror)

    def _has_others_of(self, voice: str) -> bool:
        name = re.compile(re.escape(voice) + r"-[0-9a-f]{16}\.safetensors")
        with suppress(OSError):
            return any(name.fullmatch(entry.name) for entry in self.folder.iterdir())
        return False

    def _drop_abandoned(self) -> None:
        for unfinished in self.folder.glob(".*.unfinished"):
            with suppress(OSError):  # another worker dropped it, or it is another user's
                if time.time() - unfinished.stat().st_mtime > ABANDONED_S:
                    unfinished.unlink()


def _bytes_of(file: Path) -> bytes:
    if file.exists() and not file.is_file():
        raise _Unusable("is not a regular file")
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size > MAX_FILE_BYTES:
            raise _Unusable(f"is larger than {MAX_FILE_BYTES >> 20} MiB")
        return opened.read()


def _checked(data: bytes, key: str) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: Tensors = load(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _Unusable(f"is damaged ({error})") from error
    if metadata.get("format") != FORMAT:
        raise _Unusable("was not written by this version of makima-tts")
    if metadata.get("key") != key:
        raise _Unusable("belongs to another recording, transcript, model or dtype")
    if metadata.get("sha256") != _checksum(tensors):
        raise _Unusable("is damaged (its checksum differs)")
    return tensors


def _metadata(data: bytes) -> Mapping[str, str]:
    """The header's metadata. safetensors returns it only of mapped files, which a truncation turns into a SIGBUS."""
    n_bytes = int.from_bytes(data[:8], "little")
    metadata: Mapping[str, str] | None = json.loads(data[8 : 8 + n_bytes]).get("__metadata__")
    return metadata or {}


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _write_whole(file: Path, data: bytes) -> None:
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(8)}.unfinished")
    try:
        with unfinished.open("xb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY)  # so that the move outlasts a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
