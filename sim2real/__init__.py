"""What closes the gap to a real arm: adapters, identification, validation. May use `sim` and `tasks`.

robot.py      the `Robot` contract; simulated.py and ur.py fulfil it, `robot_named` makes one
limits.py     what every motion must keep to; safety.py whether the arm may move; preflight.py what is looked at before
servo_loop.py the 500 Hz loop; ur_client.py the client library, in a process of its own; outputs.py vacuum and gripper
recorder.py   reads and logs the controller; log.py the file; recording.py what identification learns from
rtde.py       the wire format; sidechannel.py what a cell's cameras, scale and operator give
identify/     which row of knobs a robot is; validate/ the same trials in simulation and on a robot
standin/      a stand-in controller that nobody mistakes for hardware, in a process of its own
"""
