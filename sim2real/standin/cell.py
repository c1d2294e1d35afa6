"""The stand-in's palletizing cell around its arm, and its side of the side channel.

What the messages `cell.*` mean stands in `sim2real.sidechannel`; the answers are what a cell's cameras, scale and
operator would give, noise included. On a server the physics runs in a thread of its own (`live`): then what touches its
state waits for the next step. The tilt table, the drop plate and the stability test run beside it, on copies.
"""

from __future__ import annotations

import copy
import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import mujoco
import numpy as np

from assets.arms import Arm
from assets.conveyor import HEIGHT as BELT_HEIGHT
from assets.conveyor import WIDTH as BELT_WIDTH
from assets.errors import InputError, unknown
from sim2real.standin.goods import BELT_STILL, SLOTS, Contacts, Stock, add_goods, write_carton
from sim2real.standin.plant import PERIOD, Plant
from sim2real.standin.sealed import Sealed
from sim2real.standin.stability import stability
from sim2real.standin.suction import Vacuum, add_suction
from sim2real.standin.tables import Tables

VACUUM_OUTPUT, HELD_INPUT = 1, 1  # bits of the controller's digital outputs and inputs
ENTRY, BARRIER = 1.30, 0.06  # [m] from the stop: where a carton comes in, where the light barrier halts the belt
LOOK = 0.02  # [s] how often the conveyor's control looks
POSITION_NOISE, YAW_NOISE = 0.0008, 0.002  # [m], [rad] of the cameras
SCALE_STEP = 0.01  # [kg] of the scale
BUILDING = 5000.0  # [kg]
MASS_SCATTER = 0.05  # of the cartons' masses about their mean error, where there is one
FRICTION_SCATTER = 0.02  # of the richer structure
WAITING, ARRIVING, READY, HELD, PUT, FALLEN = "waiting", "arriving", "ready", "held", "put", "fallen"

Result = TypeVar("Result")


class Cell:
    """A cell of a sealed kind; `plant` is its arm, to be stepped by a controller or by whoever measures.

    Example:
        cell = Cell("ur20", Sealed.draw(3))
        cell.ask("cell.reset", cartons=[{"size": [0.4, 0.3, 0.24], "mass": 8.0}])
        cell.ask("cell.feed")
        for _ in range(2000):
            cell.plant.step(target)
        cell.ask("cell.observe")
    """

    def __init__(self, arm: Arm | str, sealed: Sealed, live: bool = False, base_height: float = 0.75):
        """Build it; with `live` the plant is stepped by another thread than those that ask."""
        self.sealed, self.live = sealed, live
        self.contacts = Contacts.of(sealed)
        self.base_height = base_height
        self.plant = Plant(arm, sealed, extend=self._extend)
        model = self.plant.model
        scatter = FRICTION_SCATTER if sealed.structure == "richer" else 0.0
        self.tables = Tables(self.contacts, float(model.opt.timestep), int(model.opt.integrator), scatter)
        self.vacuum = Vacuum(model, sealed, PERIOD)
        self._substeps = round(PERIOD / model.opt.timestep)
        self._bodies = np.array([model.body(f"carton{i}").id for i in range(SLOTS)])
        self._boxes = np.array([model.geom(f"carton{i}").id for i in range(SLOTS)])
        self._qpos = np.array([model.joint(f"carton{i}").qposadr[0] for i in range(SLOTS)])
        self._dofs = np.array([model.joint(f"carton{i}").dofadr[0] for i in range(SLOTS)])
        self._clamps = np.array([model.equality(f"clamp{i}").id for i in range(SLOTS)])
        self._belt = model.geom("belt").id
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future]] = queue.SimpleQueue()
        self._answers: dict[str, Callable[..., dict[str, Any]]] = {
            "cell.reset": self._reset,
            "cell.observe": self._observe,
            "cell.feed": self._feed,
            "cell.place": self._place,
            "cell.weigh": self._weigh,
            "cell.tilt": self._tilt,
            "cell.drop": self._drop,
            "cell.judge": self._judge,
        }
        self._clear({}, Stock.announced([{"size": [0.4, 0.3, 0.24], "mass": 7.6}], np.zeros(SLOTS)), 0)
        self.plant.hooks.append(self._before)

    def ask(self, name: str, **message: Any) -> dict[str, Any]:
        """Answer a message of the side channel; InputError with one line when it cannot be done."""
        if name not in self._answers:
            raise unknown("message", name, self._answers)
        try:
            return self._answers[name](**message)
        except TypeError as error:
            if "argument" not in str(error):
                raise
            raise InputError(f"{name}: {str(error).split(') ', 1)[-1]}") from None

    # ---- the physics' side -----------------------------------------------------------------------------------------

    def _extend(self, spec: mujoco.MjSpec) -> None:
        add_goods(spec, self.contacts, self.base_height)
        add_suction(spec, self.sealed)

    def _before(self) -> None:
        """Run before every step of the physics."""
        self._count += 1
        if self._count % self._substeps:
            return
        data = self.plant.data
        before = self.vacuum.held
        self.vacuum.step(data, bool(self.plant.outputs & VACUUM_OUTPUT))
        held = self.vacuum.held
        if held != before:
            self._changed_hold(before, held)
        if self._count % round(LOOK / PERIOD * self._substeps) == 0:
            self._watch_belt()
        while not self._jobs.empty():
            work, answer = self._jobs.get()
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)

    def _changed_hold(self, before: int | None, held: int | None) -> None:
        self.plant.inputs &= ~HELD_INPUT
        if before is not None:
            on_belt = self._over_belt(before) and self.vacuum.lost
            self.place[before] = READY if on_belt else PUT
            self.lost[before] = self.vacuum.lost and not on_belt
        if held is not None:
            self.place[held] = HELD
            self.plant.inputs |= HELD_INPUT

    def _watch_belt(self) -> None:
        """Halt the belt when a carton reaches the light barrier; note what has fallen."""
        data, model = self.plant.data, self.plant.model
        for i in range(len(self.stock.mass)):
            if self.place[i] not in (ARRIVING, READY, PUT):
                continue
            x, _, z = data.xpos[self._bodies[i]]
            if z + self.base_height < 0.5 * self.stock.size[i].min() - 0.02 or (
                self.place[i] != PUT and z + self.base_height < self.layout["belt_height"] - 0.05
            ):
                self.place[i] = FALLEN
            if self.place[i] == ARRIVING:
                turn = data.xmat[self._bodies[i]].reshape(3, 3)
                front = x + np.abs(turn[0]) @ (self.stock.size[i] / 2)
                if front > self.layout["stop"][0] - BARRIER:
                    model.geom_surfacevel[self._belt, 0] = BELT_STILL
                    if np.abs(data.qvel[self._dofs[i] : self._dofs[i] + 6]).max() < 0.01:
                        self.place[i] = READY

    def _over_belt(self, carton: int) -> bool:
        x, y, z = self.plant.data.xpos[self._bodies[carton]]
        bottom = z + self.base_height - self.stock.size[carton, 2] / 2
        stop = self.layout["stop"]
        return abs(y - stop[1]) < BELT_WIDTH / 2 and x < stop[0] and abs(bottom - self.layout["belt_height"]) < 0.10

    # ---- the side channel's side -----------------------------------------------------------------------------------

    def _between_steps(self, work: Callable[[], Result]) -> Result:
        if not self.live:
            return work()
        answer: Future[Result] = Future()
        self._jobs.put((work, answer))
        try:
            return answer.result(timeout=5.0)
        except TimeoutError:
            raise InputError("the stand-in's physics does not run: is its controller stopped?") from None

    def _reset(
        self, cartons: list[dict[str, Any]], layout: Mapping[str, Any] | None = None, seed: int = 0
    ) -> dict[str, Any]:
        random = np.random.Generator(np.random.Philox(key=[int(seed), 0xCA47]))
        shift = self.sealed.number("standin.mass_shift")
        error = shift + MASS_SCATTER * random.standard_normal(SLOTS) * (shift != 0.0)
        stock = Stock.announced(cartons, np.clip(error, -0.3, 0.3))
        self._between_steps(lambda: self._clear(layout or {}, stock, int(seed)))
        return {"count": len(stock.mass)}

    def _clear(self, layout: Mapping[str, Any], stock: Stock, seed: int) -> None:
        """Lay the cell out and send every carton away; the arm is left as it is."""
        model, data = self.plant.model, self.plant.data
        self.layout = _layout(layout, self.base_height)
        self.stock, self._random = stock, np.random.Generator(np.random.Philox(key=[seed, 0x5EE]))
        count = len(stock.mass)
        self.place, self.lost, self.fed = [WAITING] * count, [False] * count, 0
        self.vacuum.clear()
        self.plant.inputs &= ~HELD_INPUT
        self._count = 0
        down = np.array([0.0, 0.0, self.base_height])
        pallet, stop = model.body("pallet").id, model.body("conveyor").id
        model.body_pos[pallet] = np.array(self.layout["pallet"]) - down
        yaw = self.layout["pallet_yaw"] / 2
        model.body_quat[pallet] = [np.cos(yaw), 0.0, 0.0, np.sin(yaw)]
        model.body_pos[stop] = np.array([*self.layout["stop"], self.layout["belt_height"]]) - down
        model.body_pos[model.body("pedestal").id] = -down
        for i in range(count):
            write_carton(model, self._bodies[i], self._boxes[i], stock.size[i], float(stock.mass[i]))
        mujoco.mj_setConst(model, mujoco.MjData(model))
        model.geom_surfacevel[self._belt, 0] = BELT_STILL
        arm = data.qpos[:6].copy(), data.qvel[:6].copy(), data.ctrl.copy(), data.time
        mujoco.mj_resetData(model, data)
        data.qpos[:6], data.qvel[:6], data.ctrl[:], data.time = arm
        mujoco.mj_forward(model, data)

    def _observe(self) -> dict[str, Any]:
        return self._between_steps(self._look)

    def _look(self) -> dict[str, Any]:
        data = self.plant.data
        position, quaternion = self._seen(data.qpos)
        present = [i for i, place in enumerate(self.place) if place != WAITING]
        return {
            "time": float(data.time),
            "position": [position[i].tolist() if i in present else None for i in range(len(self.place))],
            "quaternion": [quaternion[i].tolist() if i in present else None for i in range(len(self.place))],
            "place": list(self.place),
            "lost": list(self.lost),
            "holding": self.vacuum.held,
            "vacuum": round(self.vacuum.vacuum, 3),
        }

    def _seen(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the world [m] (n, 3) and quaternions (n, 4) of the cartons, as the cameras see them."""
        count = len(self.stock.mass)
        at = self._qpos[:count, None]
        position = qpos[at + np.arange(3)] + [0.0, 0.0, self.base_height]
        position += POSITION_NOISE * self._random.standard_normal((count, 3))
        turn, yaw = qpos[at + 3 + np.arange(4)], YAW_NOISE * self._random.standard_normal(count) / 2
        c, s = np.cos(yaw), np.sin(yaw)
        w, x, y, z = turn.T
        return position, np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)

    def _feed(self) -> dict[str, Any]:
        return self._between_steps(self._let_in)

    def _let_in(self) -> dict[str, Any]:
        if self.fed >= len(self.place):
            raise InputError(f"cell.feed: all {len(self.place)} cartons have come; cell.reset announces new ones")
        for i, place in enumerate(self.place):
            if place in (ARRIVING, READY):
                raise InputError(f"cell.feed: carton {i} is still on the conveyor; take it first")
        carton, stop = self.fed, self.layout["stop"]
        _, width, height = self.stock.size[carton]
        room = max(BELT_WIDTH / 2 - 0.005 - width / 2, 0.0)
        y = stop[1] + np.clip(self.stock.offset[carton], -room, room)
        z = self.layout["belt_height"] - self.base_height + height / 2
        self._put(carton, np.array([stop[0] - ENTRY, y, z]), float(self.stock.yaw[carton]))
        self.place[carton] = ARRIVING
        self.fed += 1
        self.plant.model.geom_surfacevel[self._belt, 0] = self.layout["belt_speed"]
        return {"carton": carton}

    def _put(self, carton: int, position: np.ndarray, yaw: float) -> None:
        """Set a carton down in the base frame, awake and at rest."""
        data = self.plant.data
        at, dof = self._qpos[carton], self._dofs[carton]
        data.eq_active[self._clamps[carton]] = 0
        data.qpos[at : at + 7] = [*position, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        data.qvel[dof : dof + 6] = -0.0  # the negative zero wakes what sleeps and moves nothing

    def _place(self, carton: int, position: list[float], yaw: float = 0.0, clamped: bool = False) -> dict[str, Any]:
        carton = self._known(carton)
        where = np.array(position, np.float64)
        if where.shape != (3,) or not np.isfinite([*where, yaw]).all():
            raise InputError(f"cell.place: a finite position [x, y, z] and yaw are wanted, got {position!r}, {yaw!r}")
        self._between_steps(lambda: self._set_down(carton, where - [0.0, 0.0, self.base_height], float(yaw), clamped))
        return {}

    def _set_down(self, carton: int, position: np.ndarray, yaw: float, clamped: bool) -> None:
        if self.vacuum.held == carton:
            raise InputError(f"cell.place: carton {carton} hangs on the gripper; let go of it first")
        model = self.plant.model
        # Held down means part of the building: a clamp on the light carton alone would give more than the cups do.
        mass = BUILDING if clamped else float(self.stock.mass[carton])
        if mass != model.body_mass[self._bodies[carton]]:
            write_carton(model, self._bodies[carton], self._boxes[carton], self.stock.size[carton], mass)
            mujoco.mj_setConst(model, mujoco.MjData(model))
        self._put(carton, position, yaw)
        self.place[carton] = PUT
        self.fed = max(self.fed, carton + 1)
        if clamped:
            data = model.eq_data[self._clamps[carton]]
            data[:] = 0.0
            # The carton's middle, in its own axes, stays where it is now, in the floor's axes.
            data[3:6] = position[0], position[1], position[2] + self.base_height
            data[6:10] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            data[10] = 1.0
            self.plant.data.eq_active[self._clamps[carton]] = 1

    def _weigh(self, carton: int) -> dict[str, Any]:
        mass = self.stock.mass[self._known(carton)]
        return {"mass": round(round(float(mass) / SCALE_STEP) * SCALE_STEP, 3)}

    def _tilt(self, carton: int, on: str, direction: float, rate: float) -> dict[str, Any]:
        i = self._known(carton)
        return self.tables.tilt(self.stock.size[i], float(self.stock.mass[i]), on, direction, rate, self._random)

    def _drop(self, carton: int, on: str, height: float) -> dict[str, Any]:
        i = self._known(carton)
        return self.tables.drop(self.stock.size[i], float(self.stock.mass[i]), on, height, self._random)

    def _judge(self, direction: float = 0.0) -> dict[str, Any]:
        model, data = self._between_steps(lambda: (copy.copy(self.plant.model), copy.copy(self.plant.data)))
        absent = [b for i, b in enumerate(self._bodies) if i >= len(self.place) or self.place[i] == WAITING]
        qpos = self._qpos[: len(self.place)]
        return stability(model, data, qpos, np.array(absent), float(direction), self._seen, self._random)

    def _known(self, carton: int) -> int:
        if not isinstance(carton, int) or not 0 <= carton < len(self.place):
            raise InputError(f"carton {carton!r}: announced are 0 … {len(self.place) - 1}")
        return carton


def _layout(given: Mapping[str, Any], base_height: float) -> dict[str, Any]:
    """The layout a client tells, over the usual one; the column under the arm is what it is."""
    usual = {
        "base_height": base_height,
        "pallet": [0.9, 0.0, 0.144],
        "pallet_yaw": float(np.pi / 2),
        "stop": [0.15, -0.90],
        "belt_height": BELT_HEIGHT,
        "belt_speed": 0.5,
    }
    for name in given:
        if name not in usual:
            raise unknown("entry of the layout", name, usual)
    layout = {**usual, **given}
    for name, value in layout.items():
        try:
            ok = np.shape(value) == np.shape(usual[name]) and np.isfinite(np.asarray(value, np.float64)).all()
        except (TypeError, ValueError):
            ok = False
        if not ok:
            raise InputError(f"layout.{name}: wanted is something like {usual[name]}, got {value!r}")
    if abs(layout["base_height"] - base_height) > 1e-6:
        raise InputError(
            f"layout.base_height = {layout['base_height']} m: this stand-in's arm stands {base_height} m high"
        )
    return layout
