"""Numbers about what a generator makes."""
