"""SQLite, the truth: migrations, the log of operations, points, the catalog of collections."""
