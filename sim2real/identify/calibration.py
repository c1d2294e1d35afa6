"""The calibration file: a distribution over knobs that variations draw from, with where it comes from.

Its entries `knobs` and `covariance` are what `sim.variations.Calibration` reads; the others are for people: `evidence`
per knob, the robot, the source, hashes of the logs, the held-out error. Stages that were identified at different times
are merged into one file: the later one replaces the knobs that it names.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from assets.errors import InputError
from sim.knobs import Knobs
from sim.variations import Calibration

if TYPE_CHECKING:
    from sim2real.identify.joints import Result

IDENTIFIED, KEPT = "identified", "kept at prior"
DOUBTED = "doubtful: fits the motion, but contradicts the equations of motion"
DIGITS = 9  # significant ones that are written: more than any measurement has


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What speaks for one knob; lists have an entry for each of its elements, flattened.

    Attributes:
        stage: which stage of identification it comes from.
        low, high: ends of the 90 % intervals.
        status: `IDENTIFIED`, `KEPT` or `DOUBTED`, for each element.
        source: what was measured: the stand-in (never called hardware), a simulation, or a robot's serial number.
    """

    stage: str
    low: list[float]
    high: list[float]
    status: list[str]
    source: str


@dataclasses.dataclass(frozen=True)
class CalibrationFile:
    """What a calibration file holds.

    Attributes:
        knobs: mean of each knob.
        covariance: of their elements, one knob after another (k, k).
        evidence: of each knob.
        robot: name of the arm.
        source: what was measured.
        logs: hash (sha256) of every log that was used, by path.
        held_out: errors on what was not fitted, by name; "rmse before" and "rmse after" [rad] for joints.
        verdict: of each stage, in words.
    """

    knobs: Mapping[str, np.ndarray]
    covariance: np.ndarray
    evidence: Mapping[str, Evidence]
    robot: str
    source: str
    logs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    held_out: Mapping[str, float] = dataclasses.field(default_factory=dict)
    verdict: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        content = {
            "robot": self.robot,
            "source": self.source,
            "verdict": dict(self.verdict),
            "knobs": {name: _plain(value) for name, value in self.knobs.items()},
            "evidence": {
                name: dataclasses.asdict(e) | {"low": _plain(e.low), "high": _plain(e.high)}
                for name, e in self.evidence.items()
            },
            "held_out": {name: _plain(value) for name, value in self.held_out.items()},
            "logs": dict(self.logs),
            "covariance": _plain(self.covariance),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))
        unfinished.replace(path)

    @staticmethod
    def read(path: Path, knobs: Knobs) -> CalibrationFile:
        """Read a file that `write` wrote.

        Raises:
            InputError: whatever `sim.variations.Calibration.read` refuses, or evidence that is missing or malformed.
        """
        checked = Calibration.read(path, knobs)
        data = yaml.safe_load(path.read_text())
        try:
            evidence = {name: Evidence(**data["evidence"][name]) for name in checked.sizes}
            robot, source = str(data["robot"]), str(data["source"])
            logs, held_out, verdict = (dict(data[key]) for key in ("logs", "held_out", "verdict"))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: not a calibration that identification wrote: {error} is missing or malformed"
            ) from None
        means, at = {}, 0
        for name, size in checked.sizes.items():
            means[name] = checked.mean[at : at + size].reshape(knobs.shape(name))
            at += size
        return CalibrationFile(means, checked.covariance, evidence, robot, source, logs, held_out, verdict)


def calibration_of(result: Result, logs: Sequence[Path] = ()) -> CalibrationFile:
    """Return what was found of an arm as a calibration; `logs` are the files it was found in."""
    evidence = {}
    for name in result.knobs:
        found = [f for f in result.findings if f.label.split("[")[0] == name]
        evidence[name] = Evidence(
            stage=found[0].stage,
            low=[f.low for f in found],
            high=[f.high for f in found],
            status=[IDENTIFIED if f.identified else KEPT if f.value == f.prior else DOUBTED for f in found],
            source=result.source,
        )
    held_out = {f"rmse {when}": result.errors[f"held-out {when}"] for when in ("before", "after")}
    verdict = {"joints": result.verdict.says}
    return CalibrationFile(
        result.knobs, result.covariance, evidence, result.arm, result.source, log_hashes(logs), held_out, verdict
    )


def merged(earlier: CalibrationFile, later: CalibrationFile) -> CalibrationFile:
    """Return both in one: knobs that both name are the later one's; across the two, nothing is correlated.

    Raises:
        InputError: they are of different arms.
    """
    if earlier.robot != later.robot:
        raise InputError(f"calibrations of different arms cannot be merged: {earlier.robot} and {later.robot}")
    kept = [name for name in earlier.knobs if name not in later.knobs]
    at = _elements(earlier, kept)
    k, m = len(at), len(later.covariance)
    covariance = np.zeros((k + m, k + m))
    covariance[:k, :k], covariance[k:, k:] = earlier.covariance[np.ix_(at, at)], later.covariance
    return CalibrationFile(
        knobs={name: earlier.knobs[name] for name in kept} | dict(later.knobs),
        covariance=covariance,
        evidence={name: earlier.evidence[name] for name in kept} | dict(later.evidence),
        robot=later.robot,
        source=later.source if later.source == earlier.source else f"{earlier.source}; {later.source}",
        logs={**earlier.logs, **later.logs},
        held_out={**earlier.held_out, **later.held_out},
        verdict={**earlier.verdict, **later.verdict},
    )


def log_hashes(paths: Sequence[Path]) -> dict[str, str]:
    """Return the sha256 of each log, by its path."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _elements(calibration: CalibrationFile, names: Sequence[str]) -> np.ndarray:
    """Return where the elements of some knobs stand in a calibration's covariance."""
    at, where = 0, {}
    for name, value in calibration.knobs.items():
        where[name] = np.arange(at, at + np.size(value))
        at += np.size(value)
    return np.concatenate([where[name] for name in names]) if names else np.zeros(0, np.int64)


def _plain(value: Any) -> Any:
    """Return numbers fit for YAML, rounded to `DIGITS` significant ones."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    return [_plain(v) for v in value] if isinstance(value, list) else float(f"{float(value):.{DIGITS}g}")
