"""Generators and the nerfstudio models around them."""
