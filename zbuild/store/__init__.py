"""The artifact store: a process of its own, so that hashing and disk never delay a lease."""
