"""What the arm is made to do keeps its limits, and tells what it is chosen for."""

from __future__ import annotations

import numpy as np
import pytest

from assets.errors import InputError
from sim2real.identify.carrying import carry
from sim2real.identify.excitation import KINDS, candidates, motion, plan
from sim2real.identify.model import RATE
from sim2real.identify.parameters import JOINTS, Parameters
from sim2real.limits import Limits
from tests.sim2real.identify_lab import ARM, limits, model


@pytest.mark.parametrize("tcp_speed", [0.25, 1.5])
@pytest.mark.parametrize("kind", KINDS)
def test_motions_keep_the_limits_and_begin_and_end_at_home(kind: str, tcp_speed: float) -> None:
    within = limits(tcp_speed)
    planned = motion(kind, 6.0, 3, ARM, within)
    within.check_path(planned.targets, RATE)
    np.testing.assert_array_equal(planned.targets[[0, -1]], np.array([ARM.home, ARM.home]))
    span = np.ptp(planned.targets, axis=0)
    assert (span > (0.005 if tcp_speed < 1.0 else 0.02)).all(), "every joint moves"
    speed = within.speeds(planned.targets, RATE).max()
    assert planned.extremes.tool_speed * tcp_speed == pytest.approx(speed, rel=0.02)
    assert f"{planned.seconds:.1f} s" in planned.describe()
    again = motion(kind, 6.0, 3, ARM, within)
    np.testing.assert_array_equal(planned.targets, again.targets)


def test_a_narrow_workspace_makes_motions_smaller() -> None:
    wide, home = limits(), np.array([ARM.home])
    points = wide.points(home)[0]
    radius = np.append(np.repeat(wide.kinematics.radii, 2), 0.0)[:, None]
    room = 0.04
    box = np.stack([(points - radius).min(0) - room, (points + radius).max(0) + room])
    narrow = Limits.of(ARM, 0.2, 1.0, box)
    small, large = motion("fourier", 5.0, 1, ARM, narrow), motion("fourier", 5.0, 1, ARM, wide)
    narrow.check_path(small.targets, RATE)
    assert np.ptp(small.targets, axis=0).max() < 0.7 * np.ptp(large.targets, axis=0).max()
    with pytest.raises(InputError, match=r"starts at home, where .* outside the workspace box"):
        motion("fourier", 5.0, 1, ARM, Limits.of(ARM, 0.2, 1.0, box + 1.0))


def test_the_most_telling_motions_of_each_kind_come_first() -> None:
    some = candidates(ARM, limits(), seconds=2.5)[1:6]
    still = motion("sweep", 2.5, 9, ARM, limits(0.01))
    chosen = plan(model(), Parameters(JOINTS[:1]), [still, *some], count=4)
    names = [c.name for c in chosen]
    assert len(set(names)) == 4
    assert {name.split()[0] for name in names[:3]} == {"sweep", "chirp", "fourier"}
    assert still.name not in names
    assert min(c.gain for c in chosen) > 0.0


@pytest.mark.parametrize(("tcp_speed", "seconds"), [(0.25, 8.0), (0.25, 16.0), (1.0, 16.0)])
def test_the_way_of_a_carton_keeps_the_limits_and_goes_up_and_down(tcp_speed: float, seconds: float) -> None:
    within = limits(tcp_speed)
    planned = carry(ARM, within, seconds)
    within.check_path(planned.targets, RATE)
    assert 0.6 * seconds < planned.seconds <= seconds or tcp_speed == 1.0
    np.testing.assert_allclose(planned.targets[[0, -1]], np.array([ARM.home, ARM.home]), atol=1e-12)
    position, rotation = within.kinematics.flange_pose(planned.targets)
    assert (rotation[:, 2, 2] < -0.95).all(), "the tool points down, about: between stations joints go straight"
    height = position[:, 2] - position[0, 2]
    assert height.min() < -0.03
    assert int((np.diff(np.sign(np.diff(height[np.abs(np.gradient(height)) > 1e-7]))) != 0).sum()) >= 3, "twice down"


def test_the_way_of_a_carton_needs_some_room() -> None:
    box = np.array([[-2.2, -2.2, -0.2], [2.2, 2.2, 2.6]])
    box[1, 2] = 0.2
    with pytest.raises(InputError, match=r"no carton's way fits around home, .* outside the workspace box"):
        carry(ARM, Limits.of(ARM, 0.2, 1.0, box), 8.0)
