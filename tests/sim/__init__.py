"""The farm under a seeded network and seeded faults."""
