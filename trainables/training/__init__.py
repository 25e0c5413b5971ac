"""Training: one config, one epoch at a time."""
