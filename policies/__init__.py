"""What acts on the arm without a simulator: policies learned from datasets. Knows neither `sim` nor `tasks`."""
