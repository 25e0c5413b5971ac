"""Balancing: from task losses to one gradient."""
