"""What is to be done: orders and packing plans, the palletizing task, its expert, environments, rollouts, evaluation.

Importing this package registers the Gymnasium environments.
"""

from tasks.env import register

register()
