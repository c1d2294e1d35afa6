"""One scene, many worlds: knobs and variations, scene templates, engines, suction, cameras.

A world is a compiled template (`scene`) plus one row of a table of knobs (`knobs`, `variations`), written into the
engine's arrays (`apply`). `worlds` is the engine protocol, `mujoco_worlds` the default engine, `cell` the arm with its
servo and suction on top.
"""

import ctypes
import importlib
import os
import sys


def _headless_library() -> str:
    """Name what MuJoCo can draw with when there is no screen; it reads this when it is imported."""
    for name, library in (("egl", "libEGL.so.1"), ("osmesa", "libOSMesa.so.8")):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return name
    return "disabled"


if "MUJOCO_GL" not in os.environ:
    os.environ["MUJOCO_GL"] = _headless_library()
    # Whoever imported mujoco before us got the library for screens: choose again.
    if chosen := sys.modules.get("mujoco.rendering.classic.gl_context"):
        importlib.reload(chosen)
