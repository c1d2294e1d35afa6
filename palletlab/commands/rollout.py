"""`palletlab rollout`: a policy over variants, a dataset out; resume an interrupted run; replay a recorded episode."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from assets.errors import InputError
from palletlab import config as settings
from palletlab.commands.generate import say_rows, write_variants
from palletlab.learned import fill_in, learned_of
from palletlab.run_folder import run_folder, write_result
from sim.knobs import Rows
from tasks import rollout
from tasks.rollout import Job, roll_out
from tasks.task import TaskFamily


def run(arguments: list[str]) -> int:
    """Run, resume or replay."""
    if "--replay" in arguments:
        return _replay([a for a in arguments if a != "--replay"])
    if "--resume" in arguments:
        folder = _only_path([a for a in arguments if a != "--resume"], "--resume wants the folder of a run")
        return resume(folder)
    config = settings.load("rollout", arguments)
    rows = prepare_rows(config)
    with run_folder("rollout", config) as folder:
        write_variants(folder, rows, None)
        go(config, rows, folder, resuming=False)
    return 0


def prepare_rows(config: DictConfig) -> Rows:
    """Return the rows to run: from a table, or drawn and prepared as `generate` would."""
    # A wrong setting is said before the planning.
    fill_in(config)
    scene = settings.settings_of(config)
    name, learned = learned_of(config, scene)
    rollout.make_policy(name, scene, 1) if learned is None else learned(1)
    settings.whole(config, "worlds", 1)
    if config.get("variants") is not None:
        rows = _read_rows(Path(config.variants), scene.family)
        return scene.family.only_stage(rows, settings.stage_of(config))
    console = Console()
    with console.status("drawing and planning"):
        rows, planned = settings.rows_of(config)
    say_rows(console, rows, planned, scene.family)
    return rows


def _read_rows(path: Path, task: TaskFamily) -> Rows:
    """Read a table of variants; it says how many slots the scene has."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise InputError(f"{path}: no such table of variants; `palletlab generate` writes one")
    per_slot = next(name for name, knob in task.knobs(1).items() if knob.shape[:1] == ("slot",))
    try:
        slots = int(pq.read_schema(path).field(per_slot).type.list_size)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: not a table of variants of {task.name} as `palletlab generate` writes it ({error})"
        ) from None
    return Rows.from_parquet(path, task.knobs(slots))


def resume(folder: Path) -> int:
    """Go on with the run in `folder`, with the settings and variants that it began with."""
    if not (folder / "config.yaml").is_file() or not (folder / "variants.parquet").is_file():
        raise InputError(f"{folder} holds no run of `palletlab rollout`: config.yaml or variants.parquet is missing")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    rows = _read_rows(folder / "variants.parquet", settings.settings_of(config).family)
    go(config, rows, folder, resuming=(folder / "dataset").exists())
    return 0


def go(config: DictConfig, rows: Rows, folder: Path, *, resuming: bool) -> rollout.Progress:
    """Run the rows into `folder`/dataset with a progress bar; write result.json."""
    scene = settings.settings_of(config, rows.knobs.axes["slot"])
    name, learned = learned_of(config, scene)
    job = Job(
        scene,
        name,
        rows,
        folder / "dataset",
        worlds=settings.whole(config, "worlds", 1),
        workers=settings.cores() if config.workers is None else settings.whole(config, "workers", 1),
        seconds=float(config.seconds),
        disturbance=float(config.disturbance),
        make=learned,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        line = bar.add_task("rollout", total=len(rows))

        def report(progress: rollout.Progress) -> None:
            bar.update(line, completed=progress.done, description=f"rollout, {progress.successes} successes")

        end = roll_out(job, resume=resuming, report=report)
    result = {"episodes": end.done - end.quarantined, "quarantined": end.quarantined, "successes": end.successes}
    write_result(folder, result)
    print(f"{result['episodes']} episodes, {end.successes} successful, {end.quarantined} quarantined")
    print(folder / "dataset")
    print(folder)
    return end


def _replay(arguments: list[str]) -> int:
    """Re-simulate recorded episodes and say whether they match, bit for bit."""
    from tasks.dataset.reader import open_dataset
    from tasks.replay import replay

    episode = next((a.removeprefix("episode=") for a in arguments if a.startswith("episode=")), None)
    root = _only_path([a for a in arguments if not a.startswith("episode=")], "--replay wants a dataset's folder")
    if episode is not None and not episode.isdigit():
        raise InputError(f"episode={episode} must be a whole number")
    numbers = range(len(open_dataset(root))) if episode is None else [int(episode)]
    differing = 0
    for number in numbers:
        found = replay(root, number)
        differing += not found.matches
        print(
            f"episode {number}: matches, every state is bitwise equal"
            if found.matches
            else f"episode {number}: differs from frame {found.first_difference} on, by up to {found.greatest:.3g}"
        )
    return 1 if differing else 0


def _only_path(arguments: list[str], complaint: str) -> Path:
    if len(arguments) != 1 or "=" in arguments[0]:
        raise InputError(f"{complaint}, see palletlab rollout --help")
    return Path(arguments[0])
