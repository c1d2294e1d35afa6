"""Parts in physics: they come to rest and do not sink into each other."""

import mujoco
import numpy as np
import pytest

from assets.asset import rotation_matrix
from assets.parts import FAMILIES, SIZES, part, pool

CONTACT = {"solref": [0.01, 2.0], "solimp": [0.3, 0.95, 0.0003, 0.5, 2.0], "friction": [0.4, 0.005, 0.0001]}
PARTS = [pytest.param(name, size, id=f"{name}_{size}") for name in FAMILIES for size in range(SIZES)]


def _world(parts, walls=()):
    """Parts over a floor, and box walls (half sizes, position) around it."""
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    for size, position in (([0.5, 0.5, 0.05], [0, 0, -0.05]), *walls):
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, pos=position, **CONTACT)
    for i, p in enumerate(parts):
        body = spec.worldbody.add_body(mass=p.mass, inertia=p.mass * np.array(p.inertia), explicitinertial=True)
        body.add_freejoint()
        for k, hull in enumerate(p.hulls):
            spec.add_mesh(name=f"{i}_{k}", uservert=hull.ravel())
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{i}_{k}", **CONTACT)
    model = spec.compile()
    return model, mujoco.MjData(model)


def _turn(rng):
    quaternion = rng.normal(size=4)
    return quaternion / np.linalg.norm(quaternion)


@pytest.mark.parametrize(("name", "size"), PARTS)
def test_a_dropped_part_comes_to_rest_on_the_floor(name, size):
    p = part(name, size)
    model, data = _world([p])
    data.qpos[:] = [0, 0, 0.12, *_turn(np.random.default_rng(size))]
    mujoco.mj_step(model, data, 1000)
    before = data.qpos.copy()
    for _ in range(100):
        mujoco.mj_step(model, data)
        assert np.abs(data.qvel[:3]).max() < 5e-3
        assert np.abs(data.qvel[3:]).max() < 0.2
    assert np.abs(data.qpos - before)[:3].max() < 2e-5
    assert data.ncon
    assert data.contact.dist.min() > -5e-4
    height = (np.concatenate(p.hulls) @ data.xmat[1].reshape(3, 3).T + data.xpos[1])[:, 2].min()
    assert height == pytest.approx(0, abs=5e-4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pile_of_mixed_parts_settles_without_sinking_in(seed):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(pool()), size=12, replace=False)
    inside = (0.13, 0.09)  # half of a small tote's length and width [m]
    walls = [([0.02, 0.13, 0.4], [side * (inside[0] + 0.02), 0, 0.4]) for side in (-1, 1)]
    walls += [([0.17, 0.02, 0.4], [0, side * (inside[1] + 0.02), 0.4]) for side in (-1, 1)]
    model, data = _world([pool()[i] for i in chosen], walls)
    for i in range(len(chosen)):
        place = (0.05 * (-1) ** i, 0.03 * (-1) ** (i // 2), 0.1 + 0.06 * i)
        data.qpos[7 * i : 7 * i + 7] = [*place, *_turn(rng)]
    mujoco.mj_step(model, data, 2500)
    for i, x in zip(chosen, data.xpos[1:], strict=True):
        corners = np.concatenate(pool()[i].hulls)
        reach = np.abs(corners).max()
        assert np.all(np.abs(x[:2]) < inside)
        assert -0.001 < x[2] < 0.4 + reach
    assert np.abs(data.qvel.reshape(-1, 6)[:, :3]).max() < 0.01
    assert data.ncon > 24
    # Half a millimetre, save where something many times heavier wedges a light part.
    depths = np.maximum(0, -data.contact.dist)
    assert np.quantile(depths, 0.95) < 5e-4
    assert depths.max() < 1e-3


@pytest.mark.parametrize(
    ("name", "region"), [("bearing", "bore"), ("gear", "bore"), ("mug", "cavity"), ("spring_cover", "cavity")]
)
def test_a_peg_finds_the_opening_free(name, region):
    p = part(name, 2)
    opening = next(r for r in p.regions if r.name == region)
    up = rotation_matrix(opening.quaternion)[:, 2]
    model, data = _world([p])
    mujoco.mj_forward(model, data)
    middle, radius, half = np.array(opening.position), 0.9 * opening.size[0], opening.size[-1]
    across = np.linalg.svd(up[None])[2][1:]
    hit = np.zeros(1, np.int32)
    for angle in np.linspace(0, 2 * np.pi, 12, endpoint=False):
        start = middle - half * up + radius * (np.cos(angle) * across[0] + np.sin(angle) * across[1])
        reach = mujoco.mj_ray(model, data, data.xpos[1] + start, up, None, 0, -1, hit, None)
        assert reach < 0 or reach > 2 * half - 1e-6
