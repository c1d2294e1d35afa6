"""The command line: `palletlab <command> [key=value ...]`. Light: nothing heavy is imported before a command runs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = ("assets", "sim", "tasks", "policies", "sim2real")

COMMANDS = {
    "list": "tasks, robots, knobs, variations, policies",
    "generate": "draw a table of variants, make them ready to run, render a contact sheet",
    "rollout": "run a policy over variants in parallel worlds, write a dataset; --resume, --replay",
    "train": "tokenizer, video, idm or baseline: networks from datasets; --resume",
    "label": "pseudo-actions for video without actions; datasets without theirs",
    "dream": "a video model runs freely from recorded starts: videos beside the truth, drift over time",
    "evaluate": "success with confidence intervals, failures by cause and knob",
    "identify": "finds a robot's row of knobs, from its motion or its logs; writes a calibration and a page",
    "validate": "the same trials in simulation and on a robot, side by side; --resume",
    "view": "a page with a dataset's videos, plots and knobs",
    "proxy": "meshes become assets with a collision proxy that passed the gate; a page shows both",
    "demo": "all of it once, small, in a few minutes",
}

EXAMPLES = {
    "list": ("palletlab list", "palletlab list knobs task=palletizing"),
    "generate": (
        "palletlab generate count=12 seed=3 variation.carton.count=8",
        "palletlab generate order=orders.json order_name=00100408 robot=ur20",
    ),
    "rollout": (
        "palletlab rollout count=4 worlds=8 cameras=[cell] image_size=96",
        "palletlab rollout --resume outputs/rollout/2026-01-31_12-00-00",
    ),
    "train": (
        "palletlab train tokenizer data=[outputs/rollout/2026-01-31_12-00-00/dataset]",
        "palletlab train video data=[demos.mp4,DATASET] tokenizer=FOLDER training.video.minutes=30 recipe=nano",
    ),
    "label": (
        "palletlab label data=[DATASET] idm=outputs/train/2026-01-31_12-00-00",
        "palletlab label data=[outputs/rollout/2026-01-31_12-00-00/dataset] drop=true",
    ),
    "dream": (
        "palletlab dream checkpoint=FOLDER data=[DATASET]",
        "palletlab dream checkpoint=FOLDER data=[DATASET] acts=idm count=200 seconds=120 videos=8",
    ),
    "evaluate": (
        "palletlab evaluate count=20 robot=ur10e",
        "palletlab evaluate dataset=outputs/rollout/2026-01-31_12-00-00/dataset",
    ),
    "identify": (
        "palletlab identify robot=ur robot.host=192.168.1.10",
        "palletlab identify robot=ur robot.host=127.0.0.2 move=true stages=[delay,joints]",
    ),
    "validate": (
        "palletlab validate robot=ur robot.host=127.0.0.2 variation=calibration.yaml count=20",
        "palletlab validate robot=sim policies=[expert,expert-careful] count=4 robot.knobs.suction.max_force=350",
    ),
    "view": (
        "palletlab view outputs/rollout/2026-01-31_12-00-00/dataset",
        "palletlab view outputs/demo/2026-01-31_12-00-00/dataset episodes=[0,3]",
    ),
    "proxy": (
        "palletlab proxy bracket.stl gear.obj unit=mm mass=0.4",
        'palletlab proxy mug.glb regions.cavity="{cylinder:[0.03,0.04],position:[0,0,0.05]}" limits.false_volume=0.3',
    ),
    "demo": ("palletlab demo", "palletlab demo order=orders.json order_name=00100408 count=2"),
}

FLAGS = {"rollout": ("--resume", "--replay"), "train": ("--resume",), "validate": ("--resume",)}


def usage() -> str:
    """Return the help of the program."""
    lines = [
        "palletlab trains robots for the loading dock in simulation.",
        "",
        "usage: palletlab <command> [key=value ...]",
        "",
    ]
    lines += [f"  {name:10}{says}" for name, says in COMMANDS.items()]
    lines += ["", "palletlab <command> --help shows its settings and two examples; settings are Hydra overrides."]
    return "\n".join(lines)


def command_usage(name: str) -> str:
    """Return the help of one command: its settings with their comments, and two examples."""
    lines = [f"palletlab {name}: {COMMANDS[name]}", ""]
    if name == "list":
        lines.append("usage: palletlab list [tasks|robots|knobs|variations|policies] [task=NAME]")
    for file in _config_files(name):
        text = file.read_text().replace("${task}/", "")
        lines += [line for line in text.splitlines() if line and not _is_plumbing(line)]
    if name == "rollout":
        lines += [
            "--resume FOLDER   go on with an interrupted run",
            "--replay DATASET  re-simulate episode=N (or all) and compare",
        ]
    if name == "validate":
        lines += [
            "robot=sim|ur      what the trials run on, conf/robot/<name>.yaml; robot.host=, robot.tcp_speed=, ...",
            "--resume FOLDER   go on with an interrupted session; robot.* may be given anew",
        ]
    lines += ["", "examples:", *(f"  {example}" for example in EXAMPLES[name])]
    return "\n".join(lines)


def _config_files(name: str) -> list[Path]:
    """The command's file in conf/ and those it builds on, most general first."""
    file = CHECKOUT / "conf" / f"{name}.yaml"
    if not file.exists():
        return []
    bases = [line.removeprefix("  - ") for line in file.read_text().splitlines() if line.startswith("  - ")]
    return [base for b in bases if "_" not in b and ":" not in b for base in _config_files(b)] + [file]


def _is_plumbing(line: str) -> bool:
    return line.startswith(("defaults:", "  - cell", "  - rollout", "  - _self_", "#"))


def check_checkout() -> None:
    """Make sure that `sim`, `tasks`, ... are this checkout's: such names also exist elsewhere.

    Raises:
        InputError: one of them is another package.
    """
    from importlib.util import find_spec

    from assets.errors import InputError

    for package in PACKAGES:
        spec = find_spec(package)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if origin is None or CHECKOUT not in origin.parents:
            raise InputError(
                f"the package {package!r} comes from {origin}, not from {CHECKOUT}: give palletlab an environment "
                "of its own (make setup)"
            )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command; return its exit status: 0, 1 when a check says no, 2 for bad input, 130 when interrupted."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(version("palletlab"))
        return 0
    try:
        return _dispatch(arguments[0], arguments[1:])
    except KeyboardInterrupt:
        print(
            "palletlab: interrupted; finished episodes are kept, `palletlab rollout --resume FOLDER` goes on",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        # Only what a user can act on is shown as one line; anything else is our bug and keeps its traceback.
        from assets.errors import InputError

        if isinstance(error, InputError | OSError):
            print(f"palletlab: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        raise


def _dispatch(name: str, arguments: list[str]) -> int:
    from assets.errors import InputError, unknown

    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS)
    if any(a in ("-h", "--help") for a in arguments):
        print(command_usage(name))
        return 0
    for argument in arguments:
        if argument.startswith("-") and argument not in FLAGS.get(name, ()):
            raise InputError(
                f"{name} has no option {argument}; settings are written key=value, see palletlab {name} --help"
            )
    check_checkout()
    module = importlib.import_module(f"palletlab.commands.{'listing' if name == 'list' else name}")
    return int(module.run(arguments) or 0)
