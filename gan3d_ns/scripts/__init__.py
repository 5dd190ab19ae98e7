"""The gan3d command."""
