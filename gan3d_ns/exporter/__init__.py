"""Files out of a generator: meshes, splats, points, films."""
