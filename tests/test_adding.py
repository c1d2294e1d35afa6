"""docs/adding.md, followed to the letter in a copy of the checkout: the page's own examples work as it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COPIED = ("assets", "sim", "tasks", "policies", "sim2real", "palletlab", "conf", "tests", "pyproject.toml")
# A block of the page, with the file's name on a line before it where it belongs into one.
BLOCK = re.compile(r"(?:^`([\w./]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = {"palletlab": [sys.executable, "-m", "palletlab"], "python": [sys.executable]}

# `python -m assets.parts --check` of one family: the whole pool takes half a minute.
CLEVIS_ALONE = """
import sys
from assets.parts import __main__ as command
command.FAMILIES = ("clevis",)
sys.exit(command.main(["--check"]))
"""

# In the middle of a lift, the same periods twice: saved, run, restored, run again.
RESTORED = """
import numpy as np
from tasks.families import variation_named
from tasks.rollout import make_policy
from tasks.simulation import Settings, Simulation

settings, ids = Settings("lift"), np.arange(2)
simulation, policy = Simulation(settings, 2, nthread=1), make_policy("expert", settings, 2)
simulation.task.apply(variation_named("nominal", settings.knobs, "lift").sample(0, ids), ids)
policy.reset(ids, ids)
acted = [policy.act(simulation.task.observe(ids), ids)[:, 0] for _ in range(50)]
for action in acted[:35]:
    simulation.task.advance(action, ids)

def go_on():
    rewards = [simulation.task.advance(action, ids) for action in acted[35:]]
    told = [dict(event) for events in simulation.task.events for event in events]
    held = simulation.task.state.held.tolist()
    return np.concatenate([simulation.full_state(ids).ravel(), *rewards]).tobytes(), told, held

saved = simulation.save(ids)
first = go_on()
simulation.restore(saved, ids)
assert first[1], "nothing happened"
assert first == go_on()
"""


class Follower:
    """Does what a section of the page says, in a copy of the checkout."""

    def __init__(self, section: str, root: Path):
        """Follow the section under the heading `## section` in the folder `root`."""
        self.root, self.said = root, ""
        sections = (ROOT / "docs" / "adding.md").read_text().split("\n## ")
        self.text = next(text for text in sections if text.startswith(section + "\n"))
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, root / name)

    def blocks(self) -> Iterator[tuple[str, str, str]]:
        """Give file name (or nothing), kind and content of each block, in order."""
        for found in BLOCK.finditer(self.text):
            yield found[1] or "", found[2], found[3]

    def follow(self) -> None:
        """Write, edit, run and compare, from the section's beginning to its end."""
        for file, kind, content in self.blocks():
            if kind == "diff":
                self.edit(file, content)
            elif file:
                assert not (self.root / file).exists(), f"{file} is there already"
                (self.root / file).parent.mkdir(parents=True, exist_ok=True)
                (self.root / file).write_text(content)
            elif kind == "sh":
                self.said = "".join(self.run(shlex.split(line)) for line in content.splitlines())
            elif kind == "text":
                for line in content.splitlines():
                    assert _words(line) in _words(self.said), self.said

    def edit(self, file: str, change: str) -> None:
        """Replace the lines with a minus by those with a plus."""
        old, new = ("".join(f"{line[1:]}\n" for line in change.splitlines() if line[0] == sign) for sign in "-+")
        before = (self.root / file).read_text()
        assert before.count(old) == 1, f"the page is out of date: {file} does not say once\n{old}"
        (self.root / file).write_text(before.replace(old, new))

    def run(self, command: list[str], succeeds: bool = True) -> str:
        """Run a command of the page in the copy; return what it printed."""
        done = self._done(command)
        if "libegl1" in done.stderr and command[1] == "generate":  # nothing to render with on this machine
            done = self._done([*command, "sheet=false"])
        assert (done.returncode == 0) == succeeds, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "COLUMNS": "120",
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        }
        return subprocess.run(
            [*PROGRAMS[command[0]], *command[1:]], cwd=self.root, env=environment, capture_output=True, text=True
        )


def _words(text: str) -> str:
    """The text with single spaces and no line breaks: tables are laid out as wide as the terminal is."""
    return " ".join(text.split())


def test_the_part_family_of_the_page(tmp_path: Path) -> None:
    page = Follower("A part family", tmp_path)
    page.follow()
    code = "from assets.parts import FAMILIES, pool; print(FAMILIES.index('clevis'), pool()[-1].family, len(pool()))"
    index, last, parts = page.run(["python", "-c", code]).split()
    assert (index, last, parts) == ("15", "clevis", "48")
    assert (tmp_path / "outputs/clevis/variants.parquet").is_file()
    # And what the page says of a part that the gate refuses.
    file = tmp_path / "assets/parts/fork_parts.py"
    source = file.read_text()
    assert source.count("- pin, pieces,") == 1
    file.write_text(source.replace("- pin, pieces,", "- pin, (box((length, width, height)),),"))
    refusal = next(content for _, kind, content in page.blocks() if kind == "refused")
    told = page.run(["python", "-c", CLEVIS_ALONE], succeeds=False)
    assert told.count(refusal.strip()) == 3


def test_the_task_of_the_page(tmp_path: Path) -> None:
    page = Follower("A task", tmp_path)
    page.follow()
    assert (tmp_path / "outputs/lift/dataset/meta/info.json").is_file()
    assert (tmp_path / "outputs/lift_evaluation/evaluation.html").is_file()
    page.run(["python", "-c", RESTORED])


def test_the_page_is_wholly_followed() -> None:
    """A block that is left out would be one that nobody has checked."""
    text = (ROOT / "docs" / "adding.md").read_text()
    kinds = [kind for _, kind, _ in BLOCK.findall(text)]
    assert text.count("\n```") == 2 * len(kinds)
    assert set(kinds) == {"python", "yaml", "diff", "sh", "text", "refused"}
    unnamed = [
        content for file, kind, content in BLOCK.findall(text) if kind in ("python", "yaml", "diff") and not file
    ]
    assert not unnamed


@pytest.mark.parametrize("change", ["-nothing like it\n+x\n", "-from __future__ import annotations\n-x\n+y\n"])
def test_a_page_out_of_date_is_found_out(tmp_path: Path, change: str) -> None:
    page = Follower("A task", tmp_path)
    with pytest.raises(AssertionError, match="the page is out of date"):
        page.edit("tasks/families.py", change)
