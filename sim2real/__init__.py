"""What closes the gap to a real arm: adapters, identification, validation. May use `sim` and `tasks`."""
