"""What the clients cost beside loops written by hand: ``python -m benchmarks``."""
