"""A proxy in MuJoCo: pictures of the mesh, its pieces and the pieces drawn apart, and what a step of a pile costs."""

from __future__ import annotations

import colorsys
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from assets.errors import InputError
from assets.looks import look
from assets.proxies.files import ProxyAsset
from assets.proxies.solids import Points, arrays_of, hull_of, hull_vertices
from sim.rendering import RENDERING_HELP
from sim.scene import SOLIMP, SOLREF, TIMESTEP

WIDTH, HEIGHT = 640, 480
APART = 0.5  # how far a piece moves out, of its distance from the middle
BODIES, SECONDS = 10, 1.5  # of the pile: long enough to fall and come to rest
FRICTION = 0.4


@dataclass(frozen=True)
class Cost:
    """What a step of a pile costs [µs], with the proxy and with one convex hull a body."""

    proxy: float
    hull: float


def pictures(asset: ProxyAsset) -> dict[str, NDArray[np.uint8]]:
    """The mesh, the pieces in colour with the regions that must stay free, and the pieces drawn apart, by caption.

    Raises:
        InputError: nothing to render with; the message says what to install.
    """
    middle = (asset.mesh.vertices.min(axis=0) + asset.mesh.vertices.max(axis=0)) / 2
    hulls = asset.proxy.hulls
    pieces = [arrays_of(hull_of(hull)) for hull in hulls]
    colors = [(*colorsys.hsv_to_rgb((0.58 + 0.381966 * i) % 1.0, 0.55, 0.95), 1.0) for i in range(len(pieces))]
    free = [(*arrays_of(region.solid()), (0.1, 0.85, 0.35, 0.3)) for region in asset.regions]
    whole = [(*piece, color) for piece, color in zip(pieces, colors, strict=True)]
    apart = [
        (vertices + APART * (vertices.mean(axis=0) - middle), faces, color)
        for (vertices, faces), color in zip(pieces, colors, strict=True)
    ]
    regions = ", regions in green" if free else ""
    scale = 1.0 / asset.mesh.diagonal
    return {
        f"mesh, {len(asset.mesh.faces):,} triangles": _picture(
            [(asset.mesh.vertices, asset.mesh.faces, look(asset.look).rgba)], middle, scale, 1.35
        ),
        f"proxy, {len(pieces)} pieces{regions}": _picture([*whole, *free], middle, scale, 1.35),
        "pieces drawn apart": _picture(apart, middle, scale, 1.35 * (1 + 0.6 * APART)),
    }


def step_cost(asset: ProxyAsset) -> Cost:
    """Let bodies of this asset fall into a pile, with the proxy and with one hull, and take the time."""
    center = np.array(asset.center)
    hull = hull_vertices(asset.mesh.vertices)
    return Cost(_step_cost(asset, [h - center for h in asset.proxy.hulls]), _step_cost(asset, [hull - center]))


def _picture(
    shapes: Sequence[tuple[Points, NDArray[np.int32], tuple[float, ...]]],
    middle: Points,
    scale: float,
    distance: float,
) -> NDArray[np.uint8]:
    """Coloured closed surfaces seen from above at a slant; `scale` brings them to about 1 m."""
    spec = mujoco.MjSpec()
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.35] * 3
    spec.visual.quality.offsamples = 8
    spec.visual.global_.offwidth, spec.visual.global_.offheight = WIDTH, HEIGHT
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.96] * 3,
        rgb2=[0.82] * 3,
        width=256,
        height=1536,
    )
    spec.worldbody.add_light(
        pos=[1, -2, 3], dir=[-1, 2, -3], diffuse=[0.5] * 3, type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    )
    for i, (vertices, faces, color) in enumerate(shapes):
        _add_mesh(spec, f"shape_{i}", (vertices - middle) * scale, faces)
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"shape_{i}", rgba=color, contype=0, conaffinity=0
        )
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = mujoco.MjvCamera()
    camera.distance, camera.azimuth, camera.elevation = distance, 130.0, -32.0
    if os.environ.get("MUJOCO_GL") == "disabled":
        raise InputError(RENDERING_HELP)
    try:
        renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    except (ImportError, AttributeError, RuntimeError, OSError, TypeError, mujoco.FatalError) as error:
        raise InputError(f"{RENDERING_HELP} ({error})") from None
    with renderer:
        renderer.update_scene(data, camera)
        return renderer.render().copy()


def _step_cost(asset: ProxyAsset, hulls: Sequence[Points]) -> float:
    """Mean time of a step [µs]; the better of two runs, as other work on the machine only ever adds."""
    spec = mujoco.MjSpec()
    spec.option.timestep, spec.option.impratio = TIMESTEP, 10
    spec.option.cone, spec.option.integrator = mujoco.mjtCone.mjCONE_ELLIPTIC, mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    contact = {"solref": SOLREF, "solimp": SOLIMP, "friction": [FRICTION, 0.005, 0.0001]}
    size = asset.mesh.diagonal
    half, thick, high = 0.9 * size, 0.25 * size, 2.0 * size
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], **contact)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[x * (half + thick), y * (half + thick), high],
            size=[thick if x else half + 2 * thick, thick if y else half + 2 * thick, high],
            **contact,
        )
    for i, hull in enumerate(hulls):
        _add_mesh(spec, f"hull_{i}", *arrays_of(hull_of(hull)))
    xx, xy, xz, yy, yz, zz = asset.inertia
    turns = np.random.Generator(np.random.PCG64(0)).normal(size=(BODIES, 4))
    for k in range(BODIES):
        # Two by two, so that the walls do not catch them as they fall.
        at = [0.4 * size * (1 if k % 2 else -1), 0.1 * size * (k % 3 - 1), size * (0.6 + 1.05 * (k // 2))]
        body = spec.worldbody.add_body(pos=at, quat=turns[k] / np.linalg.norm(turns[k]))
        body.explicitinertial, body.mass, body.fullinertia = True, asset.mass, [xx, yy, zz, xy, xz, yz]
        body.add_freejoint()
        for i in range(len(hulls)):
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"hull_{i}", **contact)
    model = spec.compile()
    steps = round(SECONDS / TIMESTEP)
    took = []
    for _ in range(2):
        data = mujoco.MjData(model)
        began = time.perf_counter()
        mujoco.mj_step(model, data, nstep=steps)
        took.append(time.perf_counter() - began)
    return 1e6 * min(took) / steps


def _add_mesh(spec: mujoco.MjSpec, name: str, vertices: Points, faces: NDArray[np.int32]) -> None:
    spec.add_mesh(
        name=name,
        uservert=vertices.ravel().tolist(),
        userface=faces.ravel().tolist(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX,
    )
