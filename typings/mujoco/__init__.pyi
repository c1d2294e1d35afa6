# mujoco's bindings are compiled and carry no types: everything in them is Any to the checker.
from typing import Any

def __getattr__(name: str) -> Any: ...
