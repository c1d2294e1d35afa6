"""A stand-in for a robot cell that nobody here has: a controller that speaks the real protocol, moving a sealed arm.

It runs in a process of its own (`python -m sim2real.standin`), serves the unmodified client library of a UR controller
on a loopback address, and moves a simulated arm whose parameters it has drawn from a seed and keeps to itself until
asked to reveal them. It shares no model code with `sim` or with identification: only `assets`, which says what things
are, and the wire format. Whatever reports on it says "stand-in, not hardware".

    server.py (sockets, 500 Hz)  ->  controller.py (safety, modes)  ->  plant.py (the arm)  <-  sealed.py
      connection, dashboard,           program, motions, poses,
      side (side channel), faults      fields (what RTDE clients read and write)
    cell.py and its helpers put a palletizing cell around the plant; launch.py starts it all for tests.
"""

WHAT = "stand-in, not hardware"
SIDE_PORT = 30100  # of the side channel: what a cell's cameras, scale and operator would give
