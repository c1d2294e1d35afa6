"""What is to be done: orders and packing plans, the task families, their experts, environments, rollouts, evaluation.

Importing this package registers the Gymnasium environments.
"""

from tasks.env import register

register()
