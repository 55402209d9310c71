"""One collection: its actor (the only writer), its published View, its recovery."""
