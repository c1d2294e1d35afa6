"""Tasks that the present picture does not solve: what was seen, done or shown before decides what is to be done now.

All three are played by an arm with the vacuum gripper at a bench; `task` and `expert` hold what they share.
"""
