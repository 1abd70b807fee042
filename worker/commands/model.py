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
    """Download the files that the engine needs and print the directory for --model. Returns 1 on an error.

    out: an empty or new directory, into which the files are copied from the hub's cache.
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
    """Check a directory, or a hub name that was fetched. Returns 1 when it cannot be loaded. Reads only headers."""
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
    """Download into the hub's cache. Raises ModelError."""
    if Path(name).is_dir():
        raise ModelError(f"{name} is a directory", f"check it with: makima-tts model check {name}")
    if not is_hub_name(name):
        raise ModelError(f"{name!r} is not a hub name", f"use one such as {RECOMMENDED}")
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
    except (OSError, ValueError) as error:  # every error of the hub is one of these
        raise _download_error(error, name, revision) from error
    return Path(folder)


def _copy(folder: Path, out: Path) -> Path:
    """Copy the files that the engine needs, as plain files instead of the cache's links. Raises ModelError."""
    try:
        for pattern in FETCHED:
            for file in sorted(folder.rglob(pattern)):
                to = out / file.relative_to(folder)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, to)
    except OSError as error:
        raise _download_error(error, str(out), None) from error
    return out


def _download_error(error: Exception, name: str, revision: str | None) -> ModelError:
    """The ModelError of a failed download or copy."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError) or _status(error) in NOT_AUTHORISED:
        remedy = "correct the name, or set HF_TOKEN to a token that may read it"
        return ModelError(f"{name} does not exist or is not open to you", remedy)
    known = (
        (errors.RepositoryNotFoundError, f"there is no model {name}", f"correct the name, for example {RECOMMENDED}"),
        (errors.RevisionNotFoundError, f"{name} has no revision {revision}", "name a branch, tag or commit of it"),
        (errors.HFValidationError, f"{name} is not a hub name ({_cause(error)})", f"use one such as {RECOMMENDED}"),
    )
    for kind, problem, remedy in known:
        if isinstance(error, kind):
            return ModelError(problem, remedy)
    if (number := getattr(error, "errno", None)) in FULL:
        remedy = "make room, or set HF_HOME or --out to another disk"
        return ModelError("no space left for the weights (about 2.5 GiB)", remedy)
    if number in NOT_WRITABLE:
        return ModelError(_cause(error), "set HF_HOME or --out to a directory that this user may write")
    return ModelError(
        f"{name} cannot be fetched ({_cause(error)})",
        "check that this machine reaches the hub (HF_ENDPOINT, HTTPS_PROXY), or fetch it on another machine with --out "
        "and copy the directory",
    )


def _status(error: Any) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _cause(error: BaseException) -> str:
    """The first line of the root cause: the hub wraps a lost connection in other errors."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
