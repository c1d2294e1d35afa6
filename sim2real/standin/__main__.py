"""Run a stand-in: `python -m sim2real.standin --host 127.0.0.2 --arm ur20 --seed 3`; Ctrl-C ends it.

One line of JSON says that it serves, and which hash its parameters have.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys

from assets.arms import ARMS
from assets.errors import InputError
from sim2real.standin import WHAT
from sim2real.standin.plant import Plant
from sim2real.standin.sealed import STRUCTURES, Sealed
from sim2real.standin.server import Server


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m sim2real.standin", description=WHAT)
    parser.add_argument("--host", default="127.0.0.2", help="loopback address to serve at")
    parser.add_argument("--arm", default="ur20", choices=sorted(ARMS))
    parser.add_argument("--seed", type=int, default=0, help="what its sealed parameters are drawn from")
    parser.add_argument("--structure", default="contained", choices=STRUCTURES, help="richer: not what our model has")
    parser.add_argument("--weak", action="store_true", help="poor friction and weak suction")
    parser.add_argument("--cell", action="store_true", help="with pallet, conveyor, cartons and suction around the arm")
    parser.add_argument("--attached", action="store_true", help="end when the process that started it is gone")
    asked = parser.parse_args()
    ended, parent = False, os.getppid()

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        sealed = Sealed.draw(asked.seed, asked.structure, asked.weak)
        if asked.cell:
            from sim2real.standin.cell import Cell

            cell = Cell(asked.arm, sealed, live=True)
            server = Server(asked.host, cell.plant, cell)
        else:
            server = Server(asked.host, Plant(asked.arm, sealed))
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    ready = {"what": WHAT, "host": asked.host, "arm": asked.arm, "seal": sealed.seal()}
    server.serve(
        lambda: print(json.dumps(ready), flush=True),
        lambda: ended or (asked.attached and os.getppid() != parent),
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
