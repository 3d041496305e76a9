"""What one command of a build reads, which tools it runs, and how its paths are spelled in the sandbox."""
