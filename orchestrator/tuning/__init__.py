"""Ray Tune, driven: proposals, early stopping, and the journal."""
