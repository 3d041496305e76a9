"""The only package that touches ZeroMQ."""
