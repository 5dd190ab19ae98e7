"""Building blocks of fields: modulated and FiLM layers, encodings, tri-planes."""
