"""Start a stand-in in a process of its own, for tests, benchmarks and the demo."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assets.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # [s] a loaded machine may take to import and compile


@dataclass(frozen=True)
class Standin:
    """A running stand-in: where it serves, and the hash of what it keeps to itself."""

    host: str
    arm: str
    seal: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def launched(
    host: str = "127.0.0.2",
    arm: str = "ur20",
    seed: int = 3,
    structure: str = "contained",
    cell: bool = False,
    weak: bool = False,
) -> Iterator[Standin]:
    """A stand-in that serves until the block ends.

    Example:
        with launched("127.0.0.2", seed=3) as standin:
            RTDEReceiveInterface(standin.host)

    Raises:
        InputError: it did not start; the line says why.
    """
    command = [sys.executable, "-m", "sim2real.standin", "--attached"]
    command += ["--host", host, "--arm", arm, "--seed", str(seed), "--structure", structure]
    command += [*(["--cell"] if cell else []), *(["--weak"] if weak else [])]
    # One thread of arithmetic: the 500 Hz loop is not to fight with itself for the cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = process.stdout.readline() if readable else ""
            if not line:
                process.kill()
                why = process.stderr.read().strip().splitlines()
                raise InputError(why[-1] if why else f"the stand-in at {host} did not start within {PATIENCE:g} s")
            said = json.loads(line)
            yield Standin(said["host"], said["arm"], said["seal"], process)
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
