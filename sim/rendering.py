"""Pictures of worlds: colour, depth and segmentation, offscreen, each world with its own looks and cameras."""

from __future__ import annotations

import os

import mujoco
import numpy as np

from assets.errors import InputError
from sim.mujoco_worlds import MujocoWorlds
from sim.worlds import Image

RENDERING_HELP = (
    "no rendering library found; install one: apt-get install -y libegl1 libgl1-mesa-dri libopengl0 (EGL, faster) "
    "or apt-get install -y libosmesa6, or render nothing with render=false"
)


class Renderer:
    """Renders worlds of one engine at one picture size. Use it from the thread that made it."""

    def __init__(self, worlds: MujocoWorlds, width: int, height: int):
        """Open an offscreen picture of `width` x `height` pixels.

        Raises:
            InputError: neither EGL nor OSMesa works here; the message says what to install.
        """
        model = worlds.scene.model
        # Small pictures for policies come cheap (no multisampling, coarse round shapes), large ones for people fine.
        quality, fine = model.vis.quality, height > 256
        quality.offsamples, quality.shadowsize = (4, 2048) if fine else (0, 512)
        quality.numslices, quality.numstacks, quality.numquads = (28, 16, 4) if fine else (12, 4, 1)
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
        model.vis.global_.offheight = max(model.vis.global_.offheight, height)
        if os.environ.get("MUJOCO_GL") == "disabled":
            raise InputError(RENDERING_HELP)
        try:
            self._renderer = mujoco.Renderer(model, height, width, max_geom=4000)
        except (ImportError, AttributeError, RuntimeError, OSError, TypeError, mujoco.FatalError) as error:
            raise InputError(f"{RENDERING_HELP} ({error})") from None
        self._worlds, self._size = worlds, (width, height)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        self._option = mujoco.MjvOption()
        self._option.geomgroup[3] = 0  # collision proxies that finer visuals cover
        self._option.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._data = mujoco.MjData(model)

    def close(self) -> None:
        """Free the picture's memory."""
        self._renderer.close()

    def render(self, cameras: tuple[str, ...], ids: np.ndarray, everything: bool = False) -> dict[str, Image]:
        """Render each camera in the worlds `ids`; `everything` adds depth and segmentation to the colours."""
        width, height = self._size
        n = len(ids)
        images = {
            name: Image(
                np.empty((n, height, width, 3), np.uint8),
                np.empty((n, height, width), np.float32) if everything else None,
                np.empty((n, height, width), np.int32) if everything else None,
            )
            for name in cameras
        }
        for k, world in enumerate(ids):
            model = self._worlds.model(int(world))
            data = self._worlds.data(int(world), self._data)
            for name, image in images.items():
                self._camera.fixedcamid = self._worlds.scene.cameras[name]
                mujoco.mjv_updateScene(
                    model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._renderer.scene
                )
                self._renderer.render(out=image.rgb[k])
                if image.depth is not None and image.segmentation is not None:
                    self._renderer.enable_depth_rendering()
                    self._renderer.render(out=image.depth[k])
                    self._renderer.enable_segmentation_rendering()
                    found = self._renderer.render()
                    self._renderer.disable_segmentation_rendering()
                    geom = found[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
                    image.segmentation[k] = np.where(geom, found[..., 0], -1)
        return images
