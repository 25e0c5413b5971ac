"""Model structures: what tasks share of a backbone. One file, one structure."""
