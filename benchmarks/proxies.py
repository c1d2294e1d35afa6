"""What a collision proxy costs and what it gets wrong: ways to collide the same mesh, side by side.

Ten bodies of a kind fall a short way onto a floor, once with each proxy: one convex hull; ours (for parts the pieces
that passed the gate, for totes and pallets their boxes); CoACD; V-HACD; and MuJoCo's signed distance field. Mass,
inertia, starts, contacts and the simulated span are the same for all. Once the highest has had time to fall, the clock
starts, and the piles take turns, a tenth of a second each, so that a busy machine treats all alike. What counts is the
processor time of the one thread. A kind's ratio is the median over rounds, which begin with other orientations. The
distance field, by far the slowest, has a short round of its own, against ours over the same span.

The baselines run as they come and as fast as they can: the engine's midphase is on, CoACD and V-HACD have their
defaults but for the threshold and at most 60 corners a piece, and CoACD cuts the mesh as it is (its own preprocessing
would fill handles). The distance field has the engine's defaults: octree depth 6, 40 starting points, 10 iterations.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from assets.errors import InputError
from assets.proxies import cache
from assets.proxies.decompose import coacd_version, decompose
from assets.proxies.gate import FLAT, Gate, Report
from assets.proxies.mesh import Mesh
from assets.proxies.solids import Points, hull_vertices, thickness
from benchmarks.common import Figure, arguments, publish, sized
from benchmarks.piles import Drop, Kind, of_pallet, of_part, of_tote, pile, starts
from sim.scene import TIMESTEP

FINEST_BAR, SDF_BAR, BOXES_BAR = 5.0, 10.0, 5.0
FINEST, FINE = 0.01, 0.02  # thresholds of CoACD
CORNERS = 60  # of a piece, at most
SECONDS = 1200.0  # that one decomposition may take
GRAVITY = 9.81
PARTS = ("gear", "bracket", "bearing", "bolt", "plate", "handle", "bottle", "mug", "casting")
THROWN = Drop("thrown down")
BRIEFLY = Drop("thrown down, briefly")
UPRIGHT = Drop("set down", tilt=math.radians(5))
IN_SCENES = Drop("set down, without midphase", tilt=math.radians(5), midphase=False)
OURS, HULL, SDF, VHACD = "ours", "one hull", "SDF", "V-HACD"


@dataclasses.dataclass
class Timed:
    """A proxy of a kind, and what its piles cost.

    Attributes:
        name: of the proxy.
        collides: as `pile` takes it.
        report: the gate's measures; None for the distance field, which has no pieces.
        pieces: number of geoms of a body; for the distance field, of cells in its octree.
        spent: for each way of dropping, the mean time of a step in each round [µs].
        contacts: likewise, the mean number of contacts.
    """

    name: str
    collides: Sequence[Points] | str
    report: Report | None
    pieces: int = 0
    spent: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    contacts: dict[str, list[float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        parts: families.
        totes: kinds.
        pallet: whether there are pallets.
        rounds: with other orientations each.
        steps: timed in a round.
        brief: timed in the distance field's round.
        turn: steps until the next pile's turn.
        voxels: of V-HACD.
        thresholds: of CoACD, the finest, for parts, and that for goods (finer than about 0.015 it crashes on a tote).
        fallen: whether the clock starts only after the fall.
    """

    parts: Sequence[str]
    totes: Sequence[str]
    pallet: bool
    rounds: int
    steps: int
    brief: int
    turn: int
    voxels: int
    thresholds: tuple[float, float] = (FINEST, FINE)
    fallen: bool = True


FULL = Size(PARTS, ("6280", "3147"), True, 3, 500, 100, 50, 400_000)
QUICK = Size(("bolt", "handle"), ("3147",), False, 2, 500, 100, 50, 400_000)
TINY = Size(("bolt",), ("3147",), False, 1, 4, 2, 2, 1000, (0.5, 0.4), fallen=False)


def coacd(mesh: Mesh, threshold: float) -> list[Points]:
    """Convex pieces of CoACD, as many as it takes; remembered."""
    version = f"coacd {coacd_version()} threshold {threshold:g} corners {CORNERS}"
    return _remembered(mesh, version, lambda: decompose(mesh, threshold, -1, CORNERS, SECONDS))


def vhacd(mesh: Mesh, voxels: int) -> list[Points]:
    """Convex pieces of V-HACD, remembered; InputError where it is not installed."""
    try:
        import vhacdx
    except ImportError:
        raise InputError("V-HACD is not installed: pip install -e '.[dev]', or pip install vhacdx") from None

    def cut() -> list[Points]:
        # The binding wants the number of corners before each triangle; without, it cuts a surface full of holes.
        faces = np.insert(mesh.faces, 0, 3, axis=1).astype(np.uint32)
        made = vhacdx.compute_vhacd(
            mesh.vertices, faces, resolution=voxels, maxNumVerticesPerCH=CORNERS, asyncACD=False
        )
        hulls = [hull_vertices(points) for points, _ in made]
        return [hull for hull in hulls if thickness(hull) > FLAT * mesh.diagonal]

    return _remembered(mesh, f"vhacdx {importlib.metadata.version('vhacdx')} voxels {voxels} corners {CORNERS}", cut)


def _remembered(mesh: Mesh, how: str, cut: Callable[[], list[Points]]) -> list[Points]:
    key = cache.key(f"benchmark {how}", mesh.vertices.astype("<f8").tobytes(), mesh.faces.astype("<i4").tobytes())
    stored = cache.read(key)
    if stored is None:
        stored = {"hulls": [hull.tolist() for hull in cut()]}
        cache.write(key, stored)
    return [np.array(hull, np.float64) for hull in stored["hulls"]]


def of_coacd(threshold: float) -> str:
    """The name of CoACD's proxy at a threshold."""
    return f"CoACD {threshold:g}"


def cuts(kind: Kind, size: Size) -> tuple[float, ...]:
    """The thresholds at which CoACD cuts a kind."""
    finest, fine = size.thresholds
    return (fine,) if kind.boxes else (finest,)


def proxies(kind: Kind, size: Size) -> list[Timed]:
    """All proxies of a kind, cut and measured; what is called ours comes first."""
    pieces = {OURS: list(kind.pieces), HULL: [hull_vertices(kind.mesh.vertices)]}
    for threshold in cuts(kind, size):
        pieces[of_coacd(threshold)] = coacd(kind.mesh, threshold)
    pieces[VHACD] = vhacd(kind.mesh, size.voxels)
    gate = Gate(kind.mesh, kind.regions, kind.limits)
    made = [Timed(name, hulls, gate.measure(hulls), len(hulls)) for name, hulls in pieces.items()]
    if kind.boxes:
        made[0].collides = "boxes"
    return [*made, Timed(SDF, "sdf", None)]


def fall(kind: Kind, drop: Drop, taking_part: Sequence[Timed], size: Size, seed: int) -> None:
    """One round: let a pile with each proxy fall, then take the time of a step in turns."""
    placed, height = starts(kind, drop.tilt, seed)
    falling = round(math.sqrt(2 * height / GRAVITY) / TIMESTEP) if size.fallen else 0
    piles: list[tuple[Timed, mujoco.MjModel, mujoco.MjData]] = []
    for proxy in taking_part:
        model = pile(kind, drop, proxy.collides)
        if proxy.name == SDF:
            proxy.pieces = int(model.noct)
        data = mujoco.MjData(model)
        data.qpos[:] = placed.ravel()
        if falling:
            mujoco.mj_step(model, data, nstep=falling)
        piles.append((proxy, model, data))
    spent, contacts = np.zeros(len(piles)), np.zeros(len(piles))
    steps = size.brief if drop is BRIEFLY else size.steps
    for _ in range(steps // size.turn):
        for i, (_, model, data) in enumerate(piles):
            began = time.thread_time()
            mujoco.mj_step(model, data, nstep=size.turn)
            spent[i] += time.thread_time() - began
            contacts[i] += data.ncon * size.turn
    for i, (proxy, _, data) in enumerate(piles):
        if data.warning.number.any():
            raise InputError(f"{kind.name}, {drop.name}, {proxy.name}: the engine warns, its pile is no measure")
        proxy.spent.setdefault(drop.name, []).append(1e6 * float(spent[i]) / steps)
        proxy.contacts.setdefault(drop.name, []).append(float(contacts[i]) / steps)


def faster(made: Sequence[Timed], than: str, drop: Drop) -> float:
    """How many times faster our proxy is than that one: the median over the rounds."""
    ours, theirs = made[0].spent[drop.name], next(p for p in made if p.name == than).spent[drop.name]
    return float(np.median([b / a for a, b in zip(ours, theirs, strict=True)]))


def overall(name: str, values: Sequence[float], bar: float | None, baseline: str) -> Figure:
    """The geometric mean over kinds; the interval with it goes from the least to the greatest."""
    mean = float(np.exp(np.mean(np.log(values))))
    return Figure(name, mean, "x", bar, baseline, low=min(values), high=max(values))


def show(measured: dict[Kind, list[Timed]]) -> None:
    """Print what each proxy of each kind costs, and what the gate says of it."""
    table = Table(title="ten bodies: µs of a step and contacts, thrown down and set down; the gate's measures")
    for column in ("kind", "proxy", "thrown", "", "set", "", "pieces", "corners"):
        table.add_column(column, justify="left" if column in ("kind", "proxy") else "right", no_wrap=True)
    for column in ("false", "missing", "depth", "blocked", "limits broken"):
        table.add_column(column, justify="left" if column.startswith("limits") else "right", no_wrap=True)
    for kind, made in measured.items():
        for proxy in made:
            costs: list[str] = []
            for drop in (BRIEFLY if proxy.name == SDF else THROWN, UPRIGHT):
                run = drop.name in proxy.spent
                costs.append(f"{np.median(proxy.spent[drop.name]):,.0f}" if run else "")
                costs.append(f"{np.median(proxy.contacts[drop.name]):.0f}" if run else "")
            table.add_row(kind.name if proxy is made[0] else "", proxy.name, *costs, *_gated(proxy))
        table.add_section()
    Console(width=160).print(table)


def _gated(proxy: Timed) -> list[str]:
    if proxy.report is None:
        return [f"{proxy.pieces // 1000}k cells"]
    report = proxy.report
    broken = sum(not m.ok for m in report.measures)
    blocked = [m for m in report.measures if m.name.startswith("blocked")]
    worst = max(blocked, key=lambda m: m.value) if blocked else None
    shown = [report[name] for name in ("false_volume", "missing_volume", "false_depth_m")]
    return [
        str(proxy.pieces),
        str(sum(len(hull) for hull in proxy.collides) if proxy.collides != "boxes" else 8 * proxy.pieces),
        *(m.text(m.value) for m in shown),
        worst.text(worst.value) if worst else "",
        f"{broken}, worst {report.worst.name}" if broken else "none",
    ]


def prepare(kinds: Sequence[Kind], size: Size) -> None:
    """Cut everything that is not in the cache yet, two meshes at once, the goods first."""
    jobs = [(k.mesh, t) for k in kinds for t in cuts(k, size)]
    with Progress(transient=True) as bar, ThreadPoolExecutor(2) as pool:
        task = bar.add_task("decomposing", total=len(jobs))
        for _ in pool.map(lambda job: coacd(*job), jobs):
            bar.advance(task)


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = arguments("proxies", "Collision proxies: the time of a step, and what they get wrong.").parse_args(words)
    size = sized(given, FULL, QUICK, TINY)
    goods = [*map(of_tote, size.totes), *([of_pallet()] if size.pallet else [])]
    parts = [of_part(name) for name in size.parts]
    prepare([*goods, *parts], size)
    measured: dict[Kind, list[Timed]] = {}
    with Progress(transient=True) as bar:
        for kind in bar.track([*goods, *parts], description="falling"):
            measured[kind] = made = proxies(kind, size)
            fall(kind, BRIEFLY, [made[0], made[-1]], size, 0)
            for seed in range(size.rounds):
                for drop in (THROWN, UPRIGHT, IN_SCENES) if kind.boxes else (THROWN,):
                    fall(kind, drop, made[:-1], size, seed)
    show(measured)
    finest, fine = map(of_coacd, size.thresholds)

    def speedup(name: str, kinds: Sequence[Kind], than: str, drop: Drop, bar: float | None = None) -> Figure:
        says = {SDF: "MuJoCo's signed distance field", HULL: "one convex hull", VHACD: "V-HACD, 64 pieces"}
        return overall(name, [faster(measured[k], than, drop) for k in kinds], bar, says.get(than, than))

    own = [m for made in measured.values() if (report := made[0].report) is not None for m in report.measures]
    figures = [
        speedup("parts: gated over finest CoACD", parts, finest, THROWN, FINEST_BAR),
        speedup("parts: gated over SDF", parts, SDF, BRIEFLY, SDF_BAR),
        speedup("totes, pallets set down: boxes over CoACD", goods, fine, UPRIGHT, BOXES_BAR),
        speedup("totes, pallets thrown down: boxes over CoACD", goods, fine, THROWN, BOXES_BAR),
        Figure("limits of the gate that ours break", float(sum(not m.ok for m in own)), "limits", 0, "all", most=True),
        speedup("parts: gated over V-HACD", parts, VHACD, THROWN),
        speedup("parts: gated over one hull", parts, HULL, THROWN),
        speedup("totes, pallets set down: boxes over CoACD, no midphase", goods, fine, IN_SCENES),
        speedup("totes, pallets thrown down: boxes over SDF", goods, SDF, BRIEFLY),
        speedup("totes, pallets set down: boxes over one hull", goods, HULL, UPRIGHT),
        speedup("totes, pallets thrown down: boxes over one hull", goods, HULL, THROWN),
    ]
    setting = f"10 bodies of {len(goods)} kinds of goods, {len(parts)} families of parts; one thread, processor time"
    details = {
        kind.name: {
            p.name: {
                "step_us": p.spent,
                "contacts": p.contacts,
                "pieces": p.pieces,
                "gate": p.report.to_dict() if p.report else None,
            }
            for p in made
        }
        for kind, made in measured.items()
    }
    publish("proxies", given, figures, setting, details)


if __name__ == "__main__":
    main()
