"""The stand-in shares no model code with simulation or identification: it may use `assets` and the wire format only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sim2real" / "standin").rglob("*.py"))
OURS = ("assets", "sim2real.rtde", "sim2real.standin")
OTHERS = ("numpy", "mujoco")


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from sim2real import rtde` names a module too.
            names += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "sim2real" else []
            names += [node.module or ""] if node.module != "sim2real" else []
    return names


def is_allowed(name: str) -> bool:
    if any(name == ours or name.startswith(ours + ".") for ours in OURS):
        return True
    return name.split(".")[0] in {*OTHERS, *sys.stdlib_module_names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_imports_what_things_are_and_nothing_of_the_models(path: Path) -> None:
    wrong = [name for name in imported(path) if not is_allowed(name)]
    assert not wrong


def test_a_running_stand_in_has_loaded_no_model_code() -> None:
    code = (
        "import sys; import sim2real.standin.__main__, sim2real.standin.launch, sim2real.standin.cell;"
        "print([m for m in sys.modules if m.split('.')[0] in ('sim', 'tasks', 'policies', 'palletlab')"
        " or m.startswith(('sim2real.identify', 'sim2real.validate', 'sim2real.simulated'))])"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_rule_can_fail() -> None:
    assert not is_allowed("sim.scene")
    assert not is_allowed("sim2real.identify.model")
    assert not is_allowed("sim2real")
    assert is_allowed("sim2real.rtde")
    assert is_allowed("assets.arms")
