"""What the nerfstudio viewer shows beside the picture: panels for object, surface, health and cameras."""
