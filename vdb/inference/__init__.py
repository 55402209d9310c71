"""Models that turn texts into vectors, inside the server and without a network."""
