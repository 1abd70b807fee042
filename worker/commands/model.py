"""`model fetch` and `model check`: the speech model's files, before a worker needs them."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path
from typing import Any

from worker.commands.terminal import complain
from worker.engine.checkpoint import GIB
from worker.engine.checkpoint.files import FETCHED, RECOMMENDED, ModelError, is_hub_name, read
from worker.engine.checkpoint.packages import INSTALL

NOT_AUTHORISED = (401, 403)
FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def fetch(name: str, out: Path | None, revision: str | None) -> int:
    """Download what the engine needs and print the directory to give to --model; 1 when that cannot be done.

    out: an empty or new directory that it is copied into from the hub's cache.
    """
    try:
        folder = _download(name, out, revision)
        read(str(folder))
        if out is not None:
            folder = _copy(folder, out)
    except ModelError as error:
        complain(error)
        return 1
    print(folder)
    return 0


def check(name: str) -> int:
    """1 when this directory, or hub name fetched before, cannot be loaded; reads no weights but their headers."""
    try:
        weights = read(name)
    except ModelError as error:
        complain(error)
        return 1
    print(
        f"{weights.folder}: usable, {weights.n_numbers / 1e6:.0f} million parameters "
        f"in {len(weights.files)} files of {weights.n_bytes / GIB:.2f} GiB"
    )
    return 0


def _download(name: str, out: Path | None, revision: str | None) -> Path:
    """Into the hub's cache. Raises ModelError for everything that can be foreseen."""
    if Path(name).is_dir():
        raise ModelError(f"{name} is a directory here", f"look at it with: makima-tts model check {name}")
    if not is_hub_name(name):
        raise ModelError(f"{name!r} is no hub name", f"write one such as {RECOMMENDED}")
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} is not empty", "name a new directory, or empty it")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise ModelError("the package huggingface_hub is missing", INSTALL) from None
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=list(FETCHED))
    except (OSError, ValueError) as error:  # the hub's errors are all one or the other
        raise ModelError(_refusal(error, name, revision)) from error
    return Path(folder)


def _copy(folder: Path, out: Path) -> Path:
    """Plain files where the cache has links; nothing but what the engine needs. Raises ModelError."""
    try:
        for pattern in FETCHED:
            for file in sorted(folder.rglob(pattern)):
                to = out / file.relative_to(folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to)
    except OSError as error:
        raise ModelError(_refusal(error, str(out), None)) from error
    return out


def _refusal(error: Exception, name: str, revision: str | None) -> str:
    """What stopped a download, and what to do, in one line."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError) or _status(error) in NOT_AUTHORISED:
        return f"{name} is not there or not open to you; correct the name, or set HF_TOKEN to a token that may read it"
    said = {
        errors.RepositoryNotFoundError: f"there is no model {name}; correct the name, for example {RECOMMENDED}",
        errors.RevisionNotFoundError: f"{name} has no revision {revision}; name a branch, tag or commit of it",
        errors.HFValidationError: f"{name} is no hub name ({_cause(error)}); write one such as {RECOMMENDED}",
    }
    for kind, sentence in said.items():
        if isinstance(error, kind):
            return sentence
    if (number := getattr(error, "errno", None)) in FULL:
        return "no space left for the weights (about 2.5 GiB); make room, or set HF_HOME or --out to another disk"
    if number in NOT_WRITABLE:
        return f"{_cause(error)}; set HF_HOME or --out to a directory that this user may write"
    return (
        f"{name} cannot be fetched ({_cause(error)}); see whether this machine reaches the hub (HF_ENDPOINT, "
        "HTTPS_PROXY), or fetch it on another one with --out and copy the directory"
    )


def _status(error: Any) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _cause(error: BaseException) -> str:
    """The first line of what began it: the hub wraps a lost connection in advice of its own."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
