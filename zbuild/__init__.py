"""zbuild: an unmodified build.ninja, executed on a farm of machines."""

__version__ = "0.1.0"
