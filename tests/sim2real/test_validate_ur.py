"""A trial over real sockets: the UR adapter drives a stand-in in a process of its own. Wants an idle machine."""

import numpy as np
import pytest
from standin_lab import some_host
from trial_rows import SETTINGS, small, small_rows

from assets.errors import InputError
from sim2real.sidechannel import SideChannel
from sim2real.standin import WHAT
from sim2real.standin.launch import launched
from sim2real.validate.cell import cell_of
from sim2real.validate.figures import apart
from sim2real.validate.simulated import run_all
from sim2real.validate.trials import Trial
from tasks.simulation import Simulation

HOST = some_host(63)
BOX = [[-2.2, -2.2, -0.75], [2.2, 2.2, 2.6]]


def settings(**more: object) -> dict[str, object]:
    tool = {"vacuum_output": 0, "holding_input": 0}
    return {"kind": "ur", "arm": "ur20", "host": HOST, "tcp_speed": 4.0, "box": BOX, "log": "", "tool": tool, **more}


@pytest.mark.slow
def test_a_trial_over_sockets_goes_as_predicted() -> None:
    pytest.importorskip("rtde_control")
    rows = small_rows(1)
    simulated = dict(run_all(Simulation(SETTINGS, 1, nthread=1), "expert", rows))[0]
    with launched(HOST, seed=1, cell=True):
        cell = cell_of(settings(), SETTINGS, rows, small(), 0)
        try:
            assert cell.what == WHAT
            assert cell.resets_itself
            cell.check([simulated])
            outcome = cell.run(Trial(0, "AAAA", "expert", 0))
        finally:
            cell.close()
    assert outcome.placed == (True, True)
    found = apart(outcome, simulated)
    assert found["path"] < 0.15
    assert found["cartons"] < 0.01
    assert np.isfinite(outcome.tool).all()


@pytest.mark.slow
def test_what_is_no_palletizing_cell_is_refused() -> None:
    with launched(HOST, seed=1, cell=False):
        with pytest.raises(InputError, match="no palletizing cell"):
            cell_of(settings(), SETTINGS, small_rows(1), small(), 0)
        SideChannel(HOST).close()  # and let go of: it answers the next one
