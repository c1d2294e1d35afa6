"""Tote breakdown: empty a tote into a bin, check it, fold its walls, stack it on the pile of empties."""
