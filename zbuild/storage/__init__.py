"""Blobs and results on disk, and the way of blobs between processes."""
