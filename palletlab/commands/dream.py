"""`palletlab dream`: free-running generations from recorded starts, beside the truth, and how they drift."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from assets.errors import InputError
from palletlab import config as settings
from palletlab.commands.label import folders
from palletlab.dream_page import dream_page, film
from palletlab.run_folder import run_folder, write_result
from tasks.durable import write_file

SAID = (0.5, 1.0, 1.6, 2.4, 4.8, 9.6)  # [s] horizons in the printed table


def run(arguments: list[str]) -> int:
    """Dream, measure, write videos, a page and the figures."""
    config = settings.load("dream", arguments)
    sources = folders(config, "data", "dreams begin in recordings: data=[FOLDER, ...] names datasets")
    checkpoint = Path(settings.required(config, "checkpoint", "checkpoint=FOLDER names the video model that dreams"))
    config.data, config.checkpoint = [str(source) for source in sources], str(checkpoint.resolve())
    config.idm = None if config.idm is None else str(Path(str(config.idm)).resolve())
    with run_folder("dream", config) as folder:
        drift, judges = _dream(config, sources)
        result = _figures(drift, judges)
        videos = film(drift)
        (folder / "videos").mkdir(exist_ok=True)
        for number, video in enumerate(videos):
            write_file(folder / "videos" / f"dream-{number:03d}.mp4", video)
        write_result(folder, result)
        dream_page(folder / "dreams.html", Path(config.checkpoint).name, drift, result, videos)
    say(Console(), result)
    print(folder / "dreams.html")
    print(folder)
    return 0


def _dream(config: DictConfig, sources: list[Path]) -> tuple[Any, Any]:
    """Return what became of the dreams, and what looked at them."""
    import torch

    from policies.data.videos import open_source
    from policies.idm.load import load_idm
    from policies.video.dreaming import dream_all, judges_of
    from policies.video.footage import footage_of
    from policies.video.network import load_video

    checkpoint = Path(str(config.checkpoint))
    whole = (checkpoint / "video").is_dir()
    network = load_video(checkpoint / "video" if whole else checkpoint)
    device = str(config.device)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        network = network.to(device).fast()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device = {device}: {str(error).splitlines()[0]}") from None
    plan, probe = _plan(config, network.meaning.rate), settings.whole(config, "probe", 0)
    keep = settings.whole(config, "videos", 0)
    idm = None
    if plan.acts == "idm":
        if config.idm is None and not (checkpoint / "idm").is_dir():
            raise InputError(
                f"acts=idm wants idm=FOLDER, or a checkpoint with video and idm in it; {checkpoint} is none"
            )
        module, known = load_idm(checkpoint / "idm" if config.idm is None else str(config.idm))
        idm = module.to(device), known
    opened = [open_source(source) for source in sources]
    with Progress(transient=True) as bar:
        lines: dict[str, Any] = {}

        def says(what: str, done: int, total: int) -> None:
            line = lines.setdefault(what, bar.add_task(what, total=total) if what not in lines else 0)
            bar.update(line, completed=done, total=total)

        footage = footage_of(opened, network, _share(config), plan.seed, None, says)
        footage.starts(1, plan.length)  # too short a recording is said before anything takes long
        judges = judges_of(footage, probe, plan.seed, lambda done, of: says("probe", done, of))
        with torch.no_grad():
            drift = dream_all(footage, plan, judges, None, idm, keep, lambda done, of: says("dreaming", done, of))
    return drift, judges


def _plan(config: DictConfig, rate: float) -> Any:
    from policies.video.drift import Plan

    frames = {name: round(_number(config, name) * rate) for name in ("seconds", "shown", "compared")}
    for name, count in frames.items():
        if count < 1:
            raise InputError(f"{name} = {config[name]} s is less than one frame at {rate:g} frames a second")
    numbers = {name: settings.whole(config, name, 0) for name in ("count", "steps", "batch", "seed")}
    compared = min(frames["compared"], frames["seconds"])
    settled = _number(config, "settled")
    return Plan(
        frames=frames["seconds"], shown=frames["shown"], compared=compared, acts=str(config.acts), settled=settled,
        **numbers,
    )  # fmt: skip


def _share(config: DictConfig) -> float:
    share = _number(config, "held_out")
    if not 0 <= share < 1:
        raise InputError(f"held_out = {share:g} must be a share from 0, below 1")
    return share


def _number(config: DictConfig, name: str) -> float:
    value = config[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value) or value < 0:
        raise InputError(f"{name} = {value} must be a number, 0 or more")
    return float(value)


def _figures(drift: Any, judges: Any) -> dict[str, Any]:
    from policies.video.drift import summary

    errors = {name: float(value) for name, value in judges.errors.items()}
    return {**summary(drift), "probe_errors": errors, "held_out_like_the_data": judges.real}


def say(console: Console, result: dict[str, Any]) -> None:
    """Print how dreams compare with the truth and with simple guesses, by horizon."""
    table = Table(box=None, title=f"{result['dreams']} dreams of {result['seconds_each']:g} s", title_justify="left")
    rows = {
        "dream": result["psnr"]["dream"],
        "copy-last": result["psnr"]["copy_last"],
        "linear motion": result["psnr"]["linear_motion"],
        "the tokenizer's rendering of the truth": result["psnr"]["rendered"],
    }
    at = [int(np.argmin(np.abs(np.array(result["horizon"]) - s))) for s in SAID if s <= result["horizon"][-1] + 1e-6]
    at = at or [len(result["horizon"]) - 1]
    table.add_column("")
    for i in at:
        table.add_column(f"{result['horizon'][i]:g} s", justify="right")
    table.add_column("unit")
    for name, values in rows.items():
        table.add_row(name, *(f"{values[i]:.2f}" for i in at), "dB")
    for kind, unit in {"joints": "mrad", "places": "mm"}.items():
        for name, values in result.get(f"{kind}_error", {}).items():
            says = {"dream": "off", "floor": "read off the truth", "apart": "apart from the truth, both read"}[name]
            table.add_row(f"{kind} {says}", *(f"{1000 * values[i]:.0f}" for i in at), unit)
    console.print(table)
    console.print(f"  {result['frames_per_second']:.0f} frames a second", highlight=False)
    if "not_collapsed" in result:
        kept = 100 * result["not_collapsed"]
        console.print(f"  {kept:.0f} % of the dreams look like the data to their end", highlight=False)
