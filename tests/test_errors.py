"""Our exceptions: one base class with problem, remedy and code, and no sentence that code takes apart again."""

from __future__ import annotations

import ast
import builtins
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import ErrorCode, JobError, MakimaError, WireError
from worker.engine.base import EngineError, VoiceUnavailable

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(REPOSITORY / "worker").rglob("*.py"), *(REPOSITORY / "schemas").rglob("*.py")])
CONTROL_FLOW = {"Stop", "LeaseLost", "WorkerReserved"}  # they steer an utterance and are no errors


def _classes() -> dict[str, list[str]]:
    """The names of every class's base classes, without their modules."""
    return {
        node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }


def _ancestors(name: str, classes: dict[str, list[str]]) -> Iterator[str]:
    for base in classes.get(name, []):
        yield base
        yield from _ancestors(base, classes)


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return name.endswith("Error") or (isinstance(found, type) and issubclass(found, BaseException))


def test_every_exception_of_ours_has_one_base_class() -> None:
    classes = _classes()
    ours = {name: set(_ancestors(name, classes)) for name in classes}
    exceptions = {name: found for name, found in ours.items() if any(map(_is_exception, found))}
    assert len(exceptions) > 20, "the search finds them"
    apart = {name for name, found in exceptions.items() if "MakimaError" not in found and not found & CONTROL_FLOW}
    assert apart == {"MakimaError", *CONTROL_FLOW}


def test_no_sentence_is_taken_apart_again() -> None:
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("partition", "rpartition", "split", "rsplit"):
                continue
            text, separators = ast.unparse(node.func.value), [ast.unparse(one) for one in node.args]
            if ("str(error)" in text and separators) or any(";" in one for one in separators):
                found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}")
    assert found == []


def test_an_error_is_one_sentence_of_problem_and_remedy() -> None:
    error = MakimaError("the disk is full", "make room")
    assert (str(error), error.problem, error.remedy, error.code) == (
        "the disk is full; make room",
        "the disk is full",
        "make room",
        None,
    )
    assert str(MakimaError("the disk is full")) == "the disk is full"


def test_a_class_may_set_the_code_of_its_errors() -> None:
    assert EngineError("no").code is ErrorCode.ENGINE_FAILED
    assert VoiceUnavailable("no").code is ErrorCode.VOICE_UNAVAILABLE
    assert MakimaError("no", code=ErrorCode.EXPIRED).code is ErrorCode.EXPIRED


@pytest.mark.parametrize(
    "error",
    [
        JobError(ErrorCode.TEXT_EMPTY, "text is empty", "text", "send the text to speak"),
        WireError("not one msgpack map"),
        MakimaError("the disk is full", "make room", ErrorCode.INTERNAL),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_being_copied_and_pickled(error: MakimaError) -> None:
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert (str(again), again.problem, again.remedy, again.code) == (
            str(error), error.problem, error.remedy, error.code,
        )  # fmt: skip
