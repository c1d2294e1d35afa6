"""What goes where: orders, the rules of stacking, the planner, given plans, and what the arm can reach."""
