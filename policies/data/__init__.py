"""From datasets to batches: reading LeRobotDatasets, pictures decoded once, windows of them, their statistics."""
