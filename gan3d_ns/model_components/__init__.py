"""Maths between a field and a picture: surface search, ray samplers, compositing, losses."""
