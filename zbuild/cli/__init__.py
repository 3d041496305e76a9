"""The programs: what parses flags and puts the parts together."""
