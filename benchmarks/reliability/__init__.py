"""What this package survives: the commands behind docs/RELIABILITY.md."""
