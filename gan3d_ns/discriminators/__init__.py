"""Image in, score (and pose) out."""
