"""The 500 Hz loop that keeps an arm's controller supplied with joint targets, and looks before every one.

A thread of its own. Each turn it looks at the newest state (`sim2real.safety.Watch`), works out the next target,
checks its step, and sends it. It holds the arm where it is when nothing else is asked, plays prepared motions, and
interpolates actions that come at 10 Hz exactly as `sim.servo` does in simulation. It sends half a period after the
controller's ticks, so that a small delay on either side does not shift a target to another tick. In a dry run it does
all of this except for sending.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from assets.arms import Arm
from assets.errors import InputError
from sim2real.limits import STEP_SLACK, Array, Limits
from sim2real.realtime import hurry
from sim2real.recorder import Recorder
from sim2real.robot import RATE
from sim2real.safety import HEARTBEAT, STALE_ACTION, Safety, Sight, State, Watch

PERIOD = 1.0 / RATE  # [s]
ACTION_PERIOD = 0.1  # [s]
SUBSTEPS = round(ACTION_PERIOD * RATE)
QUIET = 3  # action periods without an action after which the arm counts as at rest
PHASE_GAIN, PHASE_STEP = 0.02, 20e-6  # how fast the loop is drawn to its place between the controller's ticks [1, s]
PLAYING = 2  # of the field runtime_state
SWITCH_INTERVAL = 0.0005  # [s] after which a busy thread of this program makes way for the loop
# How long the loop's own way of stopping may take before the other way is taken [s]: braking is told and done; slowing
# down is waited for.
PATIENCE = {State.FAULT: 0.03, State.STOPPED: 1.5}


class Control(Protocol):
    """What carries targets to the controller (`sim2real.ur_client.UrClient`)."""

    def servo(self, target: Sequence[float]) -> bool:
        """Send a joint target (6,) [rad]; return whether it was taken."""
        ...

    def stop(self) -> bool:
        """Slow down, stand, and end the program on the controller."""
        ...

    def brake(self) -> bool:
        """Have the controller stop the arm at once, until a person unlocks it."""
        ...

    def kill(self) -> None:
        """Let go at once."""
        ...


class ServoLoop:
    """The loop of one arm.

    Attributes:
        beat: when its last turn began, on the host's monotonic clock [s].
        halted: set once the arm has been told to stop after STOPPED (it slows down) or FAULT (it brakes, and a person
            unlocks it), by this loop or past it.
        detected: when the last fault was seen, on the same clock [s].
    """

    def __init__(
        self, recorder: Recorder, safety: Safety, limits: Limits, arm: Arm, stop_otherwise: Callable[[], None]
    ) -> None:
        """Start the thread, sending nothing.

        Args:
            recorder: of the controller.
            safety: decides whether targets are sent.
            limits: of the arm.
            arm: the arm.
            stop_otherwise: stops the arm past this loop, for when it does not get through.
        """
        from sim.servo import Servo

        self._recorder, self._safety, self._limits = recorder, safety, limits
        self._stop_otherwise = stop_otherwise
        self._servo = Servo(arm, 1, ACTION_PERIOD, SUBSTEPS)
        self._only = np.array([0])
        self._control: Control | None = None
        self._stopping: Control | None = None  # what is being told to stop
        self._watch = Watch()
        self._turn = threading.Condition()
        self._held = recorder.latest["target"].copy()  # where the arm is kept when nothing else is asked
        self._sent: Array | None = None
        self._path: Array | None = None  # the motion being played, or one period of actions
        self._requested: Array | None = None  # the action behind that period
        self._at = 0
        self._acting, self._quiet = False, 0
        self._pending: tuple[Array, Array, float] | None = None  # requested, cut, when handed over
        self._began = 0.0  # when the newest action's period began
        self.halted = threading.Event()
        self.detected = 0.0
        self.beat = time.monotonic()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for run, name in ((self._run, "servo loop"), (self._guard, "servo guard"))
        ]
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._interval, SWITCH_INTERVAL))
        for thread in self._threads:
            thread.start()

    def attach(self, control: Control) -> None:
        """Send through `control` from now on, as `safety` allows, beginning where the controller holds the arm."""
        with self._turn:
            self._held = self._recorder.latest["target"].copy()
            self._sent = self._held
            self._path, self._acting, self._pending = None, False, None
            self._watch = Watch()
            self.halted.clear()
            self._control = control

    def detach(self) -> None:
        """Send no more through the control given last."""
        with self._turn:
            self._control = None

    @property
    def held(self) -> Array:
        """Return where the arm is kept (6,) [rad]: the last target of what was asked; live in a dry run."""
        if self._control is None:
            return self._recorder.latest["target"].copy()
        return self._held.copy()

    def play(self, path: Array) -> None:
        """Send a checked path (k, 6) [rad], a target each turn, and wait for its end; InputError if it is cut short."""
        with self._turn:
            if self._acting or self._path is not None:
                raise InputError("the arm is already moving: one motion at a time")
            if self._safety.moving_allowed:
                self._safety.run()
            self._path, self._requested, self._at = path, None, 0
            patience = len(path) * PERIOD * 1.5 + 2.0
            ended = self._turn.wait_for(lambda: self._path is None, patience)
        self._safety.require("the motion was cut short")
        if not ended:
            raise InputError(f"the motion has not ended within {patience:.0f} s: the servo loop is held up")

    def act(self, requested: Array, action: Callable[[Array, Array], Array], think_time: float) -> Array:
        """Take one action for the coming period of 0.1 s; return the target that will be reached.

        Waits until the period has begun, and on until `think_time` [s] before it ends: a caller that needs no longer
        for its next action moves the arm without a break, by a state that is `think_time` old when its action begins.

        Args:
            requested: the joint target asked for (6,) [rad].
            action: gives the target allowed, from the last target and the one before it.
            think_time: what the caller is given to find its next action [s].
        """
        with self._turn:
            if self._path is not None and not self._acting:
                raise InputError("the arm is playing a motion: no action is taken meanwhile")
            if not self._acting:
                self._held = self.held
                self._servo.reset(self._held[None], self._only)
            last, before = self._servo.history[0, -1].copy(), self._servo.history[0, -2].copy()
        allowed = action(last, before)  # takes a while: the loop goes on meanwhile
        with self._turn:
            if not self._acting:
                if self._safety.moving_allowed:
                    self._safety.run()
                self._acting, self._quiet, self._path = True, 0, None
            self._pending = (requested, allowed, time.monotonic())
            taken = self._turn.wait_for(lambda: self._pending is None, 3 * ACTION_PERIOD)
            began = self._began
        self._safety.require("the action was not carried out")
        if not taken:
            raise InputError("the action was not carried out: the servo loop is held up")
        time.sleep(max(began + ACTION_PERIOD - think_time - time.monotonic(), 0.0))
        return allowed

    def close(self) -> None:
        """End the threads."""
        self._end.set()
        for thread in self._threads:
            thread.join(1.0)
        sys.setswitchinterval(self._interval)

    # ---- the loop's own thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        hurry()
        due = time.monotonic()
        while not self._end.is_set():
            due = self._wait(due)
            self.beat = time.monotonic()
            try:
                self._step()
            except Exception as error:  # whatever it is: the arm stops, and the reason is told
                self._trip(f"the servo loop failed: {type(error).__name__}: {error}")

    def _wait(self, due: float) -> float:
        """Sleep until the next turn; return when it was due [s]."""
        due += PERIOD
        phase = (due - self._recorder.offset) / PERIOD - 0.5
        due -= float(np.clip(PHASE_GAIN * (phase - round(phase)) * PERIOD, -PHASE_STEP, PHASE_STEP))
        time.sleep(max(due - time.monotonic(), 0.0))
        now = time.monotonic()
        self._recorder.timing(due, now - due)
        # What was missed is not made up for: targets in quick succession would be a jump.
        return due if now - due < PERIOD else now

    def _step(self) -> None:
        state = self._safety.state
        if state in (State.STOPPED, State.FAULT):
            self._halt()
            return
        armed = self._safety.moving_allowed and self._control is not None
        if armed or state is State.DRY_RUN:
            wrong = self._watch.look(self._sight(), self._sent) if armed else self._recorder.lost
            if wrong:
                self._trip(wrong)
                self._halt()
                return
        requested, target = self._next()
        if armed:
            self._send(target)
            if not self._safety.moving_allowed:
                self._halt()
                return
        self._recorder.command(tuple(requested.tolist()), tuple(target.tolist()) if armed else None)

    def _send(self, target: Array) -> None:
        control = self._control
        assert control is not None
        assert self._sent is not None
        step = np.abs(target - self._sent)
        over = ~(step <= self._limits.velocity * PERIOD * STEP_SLACK)
        if over.any():
            j = int(np.argmax(over))
            self._trip(f"joint {j} would have been sent a step of {step[j]:.4f} rad in {1e3 * PERIOD:g} ms")
        elif control.servo(target.tolist()):
            self._sent = target
        else:
            # The reason, a stop by the controller, comes with a packet that may still be on its way.
            time.sleep(2 * PERIOD)
            wrong = self._watch.look(self._sight(), self._sent)
            self._trip(wrong or "the controller did not take a target")

    def _sight(self) -> Sight:
        recorder = self._recorder
        newest = recorder.latest
        return Sight(
            now=time.monotonic(),
            received=float(newest["received"]),
            lag=recorder.lag,
            safety=int(newest["safety"]),
            mode=int(newest["mode"]),
            position=newest["position"],
            velocity=newest["velocity"],
            readings=recorder.readings,
            lost=recorder.lost,
            running=int(newest["runtime"]) == PLAYING,
        )

    def _next(self) -> tuple[Array, Array]:
        """Return what is asked for and what is to be sent now (6,) each."""
        with self._turn:
            if self._path is None and self._acting:
                self._begin_period()
            if self._path is None:
                held = self.held
                return held, held
            target = self._path[self._at]
            requested = target if self._requested is None else self._requested
            self._at += 1
            self._held = target
            if self._at == len(self._path):
                self._path = None
                if not self._acting:
                    self._safety.rest()
                    self._turn.notify_all()
            return requested, target

    def _begin_period(self) -> None:
        """Take the pending action for the coming period; without one the last target holds."""
        pending, self._pending = self._pending, None
        last = self._servo.history[0, -1].copy()
        self._quiet = 0 if pending else self._quiet + 1
        if self._quiet > QUIET:
            self._acting = False
            self._safety.rest()
            return
        if pending is not None:
            self._requested, last, given = pending
            if time.monotonic() - given > STALE_ACTION:
                self._safety.stop(f"an action waited {time.monotonic() - given:.2f} s for its turn: stale")
                return
            self._began = time.monotonic()
            self._turn.notify_all()
        self._servo.command(last[None], self._only)
        self._path, self._at = self._servo.samples(0, SUBSTEPS, self._only)[0], 0

    def _trip(self, reason: str) -> None:
        """Something is wrong: no target goes out after this."""
        now = time.monotonic()
        if self._safety.fault(reason):
            self.detected = now

    def _halt(self) -> None:
        """Tell the arm to stop, once."""
        with self._turn:
            control, self._control = self._control, None
            self._stopping = control or self._stopping
            self._path, self._acting, self._pending = None, False, None
            self._turn.notify_all()
        if control is None:
            return  # it was told before, or never told anything
        if self._recorder.lost:
            control.kill()
            return  # the guard goes the other way; without a network the controller's watchdog stops the arm
        if control.brake() if self._safety.state is State.FAULT else control.stop():
            self._stopping = None
            self.halted.set()

    # ---- the guard's thread ----------------------------------------------------------------------------------------

    def _guard(self) -> None:
        """See that the loop itself is alive, and that a stop gets through."""
        hurry()
        since = 0.0
        while not self._end.wait(0.005):
            now = time.monotonic()
            if self._control is not None and self._safety.moving_allowed:
                since = now
                lost = self._recorder.lost
                if lost or now - self.beat > HEARTBEAT:
                    self._trip(f"connection lost: {lost}" if lost else "the servo loop is held up: no turn for 40 ms")
            elif (control := self._stopping or self._control) is not None and self._safety.state in PATIENCE:
                if self._recorder.lost or now - since > PATIENCE[self._safety.state]:
                    control.kill()  # its registers are free from now on
                    self._control = self._stopping = None
                    with contextlib.suppress(InputError):
                        self._stop_otherwise()
                    self.halted.set()
                    with self._turn:  # who waits for the motion's end has it
                        self._path, self._acting, self._pending = None, False, None
                        self._turn.notify_all()
            else:
                since = now
