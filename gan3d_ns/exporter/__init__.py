"""Surfaces and meshes out of a generator."""
