"""Real images in, no poses: image collections, the procedural collection, dataparser and datamanager."""
