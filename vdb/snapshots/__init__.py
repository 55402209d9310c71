"""Snapshots of collections and of the whole storage: the folder they lie in, making them, recovering from them."""
