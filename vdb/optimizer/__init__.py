"""Decides which segments to rebuild, and rebuilds them in child processes."""
