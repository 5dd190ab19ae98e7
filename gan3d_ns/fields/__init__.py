"""Fields: (position, direction, styles) to geometry and colour."""
