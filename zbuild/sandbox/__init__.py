"""How one action is run: the walls around it, and the process that starts it."""
