"""`palletlab label`: pseudo-actions for video without actions; and datasets without theirs, to have such video."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from assets.errors import InputError, unknown
from palletlab import config as settings
from palletlab.run_folder import run_folder, write_result


def run(arguments: list[str]) -> int:
    """Label, drop actions, or drop them and label."""
    config = settings.load("label", arguments)
    sources = folders(config, "data", "what is to be labelled: data=[FOLDER, ...] names datasets without actions")
    for name in ("drop", "states"):
        if not isinstance(config[name], bool):
            raise InputError(f"{name} = {config[name]} must be true or false")
    if config.idm is None and not config.drop:
        raise InputError("nothing to do: idm=FOLDER labels, drop=true takes recorded actions out")
    if not config.states and not config.drop:
        raise InputError("states=false goes with drop=true: it says what is taken out beside the actions")
    config.data = [str(source) for source in sources]
    for name in ("idm", "truth"):
        config[name] = None if config[name] is None else str(Path(str(config[name])).resolve())
    if config.truth is not None and (config.drop or config.idm is None or len(sources) > 1):
        raise InputError("truth= goes with idm= and one dataset; what drop=true takes out is compared with anyway")
    with run_folder("label", config) as folder:
        result = _label(config, sources, folder)
        write_result(folder, result)
    for one in result["datasets"]:
        if "compared" in one:
            say(Console(), one["compared"])
        print(one["dataset"])
    print(folder)
    return 0


def _label(config: DictConfig, sources: Sequence[Path], folder: Path) -> dict[str, Any]:
    from policies.data.lerobot import LeRobotDataset
    from policies.idm.label import label
    from policies.idm.recorded import compare, drop

    datasets = [LeRobotDataset(source) for source in sources]
    outs = [folder / ("dataset" if k == 0 else f"dataset-{k + 1}") for k in range(len(datasets))]
    if config.idm is None:
        for dataset, out in zip(datasets, outs, strict=True):
            drop(dataset, out, not config.states)
        return {"datasets": [{"from": str(d.root), "dataset": str(o)} for d, o in zip(datasets, outs, strict=True)]}
    module, meaning, number = _model(config)
    result: list[dict[str, Any]] = []
    with Progress(transient=True) as bar, tempfile.TemporaryDirectory(dir=folder) as aside:
        for k, (dataset, out) in enumerate(zip(datasets, outs, strict=True)):
            line = bar.add_task(f"labelling {dataset.root.name}", total=len(dataset))
            bare = dataset
            if config.drop:
                bare = LeRobotDataset(drop(dataset, Path(aside) / str(k), not config.states))
            label(bare, out, module, meaning, number, None, lambda done, _, line=line: bar.update(line, completed=done))
            result.append({"from": str(dataset.root), "dataset": str(out), "episodes": len(dataset)})
            truth = dataset if config.drop else None if config.truth is None else LeRobotDataset(config.truth)
            if truth is not None:
                result[-1]["compared"] = compare(LeRobotDataset(out), truth, meaning.stride)
    return {"embodiment": meaning.embodiments[number].name, "datasets": result}


def _model(config: DictConfig) -> tuple[Any, Any, int]:
    """Return the inverse dynamics model, what its numbers mean, and the number of the embodiment."""
    from policies.idm.load import load_idm

    folder = Path(str(config.idm))
    module, meaning = load_idm(folder / "idm" if (folder / "idm").is_dir() else folder)
    names = [embodiment.name for embodiment in meaning.embodiments]
    if config.embodiment is not None and str(config.embodiment) not in names:
        raise unknown("embodiment", str(config.embodiment), names)
    if config.embodiment is None and len(names) > 1:
        raise InputError(f"the model knows {', '.join(names)}: embodiment=NAME says which of them the video shows")
    return module, meaning, 0 if config.embodiment is None else names.index(str(config.embodiment))


def folders(config: DictConfig, key: str, complaint: str) -> list[Path]:
    """Return the paths that a setting lists, or the one that it names; InputError with the complaint for none."""
    given = config[key]
    paths = list(given) if isinstance(given, ListConfig) else [given]
    if not paths or any(path is None for path in paths):
        raise InputError(complaint)
    return [Path(str(path)).resolve() for path in paths]


def say(console: Console, compared: dict[str, Any]) -> None:
    """Print how far off the labels are."""
    table = Table(box=None, title=f"labels against {compared['frames']} recorded actions", title_justify="left")
    for column in ("", "error", "stated", "holding the pose", "unit"):
        table.add_column(column)
    for name, joint in compared["joints"].items():
        hold = "-" if joint["hold"] is None else f"{joint['hold']:.3g}"
        table.add_row(name, f"{joint['error']:.3g}", f"{joint['stated']:.3g}", hold, "mrad")
    table.add_row("all joints", f"{compared['all']:.3g}", "", "", "mrad")
    for name, share in compared["commands"].items():
        table.add_row(f"{name} right", f"{100 * share:.3g}", "", "", "%")
    console.print(table)
