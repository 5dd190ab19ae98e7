"""Where the camera may stand: pose priors."""
