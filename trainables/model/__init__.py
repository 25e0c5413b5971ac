"""The model: a backbone that tasks share, and their heads."""
