"""An inverse dynamics model from its checkpoint, ready for use."""

from __future__ import annotations

from pathlib import Path

from assets.errors import InputError
from policies.checkpoint import Checkpoint, load
from policies.idm.model import IDMConfig, InverseDynamics
from policies.video.network import Meaning


def load_idm(checkpoint: Checkpoint | Path | str) -> tuple[InverseDynamics, Meaning]:
    """Return the inverse dynamics model of a checkpoint, for inference, and what its numbers mean.

    Raises:
        InputError: no checkpoint of one, a damaged one, or weights of another network.
    """
    kept = checkpoint if isinstance(checkpoint, Checkpoint) else load(checkpoint, "idm")
    try:
        module = InverseDynamics(IDMConfig(**kept.about["config"]))
        module.load_state_dict(kept.weights)
        meaning = Meaning.of(kept.about)
    except (TypeError, KeyError, RuntimeError) as error:
        line = str(error).splitlines()[-1].strip()
        raise InputError(f"{kept.folder}: is no checkpoint of this inverse model ({line}); train it again") from error
    return module.eval().requires_grad_(False), meaning
