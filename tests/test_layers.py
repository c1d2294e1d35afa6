"""Imports run one way, and heavy packages are imported where they are used."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each package may import of this project, besides itself.
MAY_IMPORT = {
    "assets": set(),
    "sim": {"assets"},
    "tasks": {"assets", "sim"},
    "policies": {"assets"},
    "sim2real": {"assets", "sim", "tasks"},
    "palletlab": {"assets", "sim", "tasks", "policies", "sim2real"},
}
OURS = {*MAY_IMPORT, "tests", "benchmarks"}
HEAVY = {
    "torch",
    "warp",
    "mujoco_warp",
    "isaaclab",
    "lerobot",
    "ray",
    "rtde_control",
    "rtde_receive",
    "rerun",
    "open3d",
}
LIGHT_PACKAGES = ("assets", "sim", "tasks", "palletlab")


def files(package: str) -> list[Path]:
    """Return a package's files."""
    return sorted((ROOT / package).rglob("*.py"))


def imports(nodes: list[ast.stmt], everywhere: bool) -> Iterator[tuple[int, str, bool]]:
    """Give line, top-level package and whether relative of each import; `everywhere` looks into functions too.

    Without it, only what runs when the module is imported counts, so not what only type checkers see.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, (node.module or "").split(".")[0], node.level > 0
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not everywhere:
            continue
        elif isinstance(node, ast.If) and not everywhere and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(node.orelse, everywhere)
        else:
            blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
            blocks += [part.body for name in ("handlers", "cases") for part in getattr(node, name, [])]
            for block in blocks:
                yield from imports(block, everywhere)


def found(package: str, everywhere: bool) -> Iterator[tuple[str, str, bool]]:
    """Give place, top-level package and whether relative of each import of a package."""
    for path in files(package):
        for line, name, relative in imports(ast.parse(path.read_text()).body, everywhere):
            yield f"{path.relative_to(ROOT)}:{line}", name, relative


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = [f"{place} imports {name}" for place, name, _ in found(package, True) if name in OURS - allowed]
    assert not wrong


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_are_absolute(package: str) -> None:
    assert not [place for place, _, relative in found(package, True) if relative]


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_heavy_packages_are_imported_where_they_are_used(package: str) -> None:
    wrong = [f"{place} imports {name}" for place, name, _ in found(package, False) if name in HEAVY]
    assert not wrong


@pytest.mark.parametrize("package", ["assets", "sim", "tasks"])
def test_packages_are_those_of_this_checkout(package: str) -> None:
    where = importlib.import_module(package).__file__
    assert where is not None
    assert Path(where).resolve().parent == (ROOT / package).resolve()


def test_the_parser_sees_what_it_should() -> None:
    source = """
import os, torch.nn
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import warp
else:
    import ray
try:
    from lerobot import x
except ImportError:
    import open3d
class A:
    import rerun
    def f(self):
        import isaaclab
from . import y
"""
    nodes = ast.parse(source).body
    at_import = {name for _, name, _ in imports(nodes, False)}
    assert at_import == {"os", "torch", "typing", "ray", "lerobot", "open3d", "rerun", ""}
    assert {name for _, name, _ in imports(nodes, True)} == at_import | {"warp", "isaaclab"}
    assert [relative for _, name, relative in imports(nodes, True) if not name] == [True]
