"""The test suite. ``bin/test`` runs all of it."""
