"""Our arms in the hands of the real lerobot, in an environment of its own that has the plugin.

PALLETLAB_LEROBOT_PYTHON names its interpreter (`make lerobot-env`); the plugin, ur_rtde, mcap and mujoco must be in it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from sim2real.standin.launch import launched

PYTHON = os.environ.get("PALLETLAB_LEROBOT_PYTHON", "")


def missing() -> str:
    """Say what is missing, "" if nothing."""
    if not PYTHON:
        return "PALLETLAB_LEROBOT_PYTHON names no interpreter (make lerobot-env builds one)"
    script = "import importlib.util as u; print([n for n in %r if u.find_spec(n) is None])"
    names = ("lerobot_robot_palletlab", "rtde_control", "mcap", "mujoco", "serial", "sim2real")
    found = subprocess.run([PYTHON, "-c", script % (names,)], capture_output=True, text=True, check=False, cwd="/")
    return "" if found.stdout.strip() == "[]" else f"{PYTHON} lacks {found.stdout.strip() or found.stderr[-200:]}"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def drive(kind: str, host: str, folder: Path) -> dict:
    """Let lerobot drive an arm; return what it saw."""
    script = Path(__file__).with_name("drive_with_lerobot.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "HOME": str(folder)}
    run = subprocess.run(
        [PYTHON, str(script), kind, host, str(folder / "seen.json")],
        env=environment,
        cwd=folder,  # away from our packages
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads((folder / "seen.json").read_text())


def test_a_simulated_arm_moves(tmp_path: Path) -> None:
    seen = drive("sim", "-", tmp_path)
    assert seen["known"]
    assert seen["plugins"] == ["lerobot_robot_palletlab"]
    assert seen["armed"]["sent"] == pytest.approx(0.05)
    assert 0.02 < seen["armed"]["moved"] < 0.06
    assert not seen["armed"]["connected"]


def test_the_stand_in_moves_and_in_a_dry_run_does_not(tmp_path: Path) -> None:
    with launched("127.0.0.43", seed=4) as standin:
        seen = drive("ur", standin.host, tmp_path)
    assert seen["armed"]["sent"] == seen["dry"]["sent"] == pytest.approx(0.05)
    assert 0.015 < seen["armed"]["moved"] < 0.06
    assert abs(seen["dry"]["moved"]) < 0.002
