"""Generator and discriminator together: one loss dict for each phase."""
