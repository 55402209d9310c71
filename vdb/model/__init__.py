"""What clients send and what the log keeps: ids, vectors, configurations, conditions, operations."""
