"""Episodes on disk as a LeRobotDataset v3: workers stage them, one publisher publishes them, a reader opens them."""
