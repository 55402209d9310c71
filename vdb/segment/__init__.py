"""Vectors as matrices and graphs: derived files and memory, rebuilt from SQLite when lost."""
