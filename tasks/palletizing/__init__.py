"""Palletizing: mixed cartons from a conveyor onto a pallet. The cell, the task, its judge, its expert, its variants."""
