from typing import Any

Batch: Any

class SimulationError(RuntimeError):
    ids: Any

MODEL_FIELDS: Any
