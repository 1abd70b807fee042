"""The tests of a GPU, as far as a machine without one can check them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
import torch

from tests.gpu.conftest import exact_products

FOLDER = Path(__file__).parents[1] / "gpu"
MODULES = sorted(path.stem for path in FOLDER.glob("test_*.py"))


def test_they_run_with_cudnn_and_without_tf32() -> None:
    with exact_products():
        assert torch.backends.cudnn.enabled
        assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("name", MODULES)
def test_each_module_imports_and_has_tests(name: str) -> None:
    module = import_module(f"tests.gpu.{name}")
    assert any(word.startswith("test_") for word in vars(module))
