"""Validation: the same trials in simulation and on a robot, side by side.

`trials` says which trials there are, in which order, and keeps what came of them; `policies` has experts of differing
quality; `simulated` runs trials in parallel worlds, `cell` and `work` on a robot, where `seen` judges them; `session`
puts the two together; `figures` and `sequential` compare them, `conclusion` says in plain words what follows.
"""
