"""The coordinator: which worker runs which action, and who is told of the result."""
