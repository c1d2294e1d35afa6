"""One scene, many worlds: knobs and variations, scene templates, engines, suction, cameras.

A world is a compiled template (`scene`) plus one row of a table of knobs (`knobs`, `variations`), written into the
engine's arrays (`apply`). `worlds` is the engine protocol, `mujoco_worlds` the default engine, `cell` the arm with its
servo and suction on top.
"""

import ctypes
import os


def _headless_library() -> str:
    """Name what MuJoCo can draw with when there is no screen; it has to be known before mujoco is imported."""
    for name, library in (("egl", "libEGL.so.1"), ("osmesa", "libOSMesa.so.8")):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return name
    return "disabled"


os.environ.setdefault("MUJOCO_GL", _headless_library())
