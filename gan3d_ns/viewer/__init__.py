"""What the nerfstudio viewer shows beside the picture: latent controls, camera home."""
