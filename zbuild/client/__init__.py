"""The client: finds what an edge needs, has the farm run it, and brings home what it made."""
