"""The simulator: a whole farm, its network and its faults in one thread, repeated exactly from one seed."""
