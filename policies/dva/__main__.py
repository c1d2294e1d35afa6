"""`python -m policies.dva CHECKPOINT`: serve a checkpoint to robots; see `policies.dva.server`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from collections.abc import Sequence

from assets.errors import InputError, unknown
from policies.dva.decider import STEPS
from policies.dva.load import load_models
from policies.dva.server import PORT, PolicyServer, described


def main(words: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m policies.dva", description="Serve a DVA checkpoint to robots.")
    parser.add_argument("checkpoint", help="folder with a trained video and a trained idm in it")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=PORT, help="0 for any")
    parser.add_argument("--arm", help="arm and tool, by the name in the checkpoint; its first one by default")
    parser.add_argument("--arms", type=int, default=1, help="how many can be served at a time")
    parser.add_argument("--chunk", type=int, help="video frames that a decision covers")
    parser.add_argument("--steps", type=int, default=STEPS, help="denoising steps of an imagined frame")
    given = parser.parse_args(words)
    try:
        models = load_models(given.checkpoint)
        known = {e.name: e for e in models.video.meaning.embodiments if e.actions}
        if given.arm is not None and given.arm not in known:
            raise unknown("arm of the checkpoint", given.arm, known)
        if not known:
            raise InputError(f"{given.checkpoint}: knows no arm; train it on episodes with actions")
        embodiment = known[given.arm or next(iter(known))]
        rhythm = models.rhythm(given.chunk)
        decider = models.decider(embodiment, rhythm, given.arms, given.steps)
        about = described(models.hash, models.video.meaning.views, embodiment, models.video.meaning.texts, rhythm)
        with PolicyServer(decider, about, given.arms, given.host, given.port) as server:
            print(f"serving {models.hash} for {embodiment.name} at {server.address[0]}:{server.address[1]}", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    except InputError as error:
        print(f"policies.dva: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
