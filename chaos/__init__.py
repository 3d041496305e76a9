"""Real brokers, workers, stores and clients, and everything that can go wrong around them."""
