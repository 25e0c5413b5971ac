"""Going on with what was interrupted, and doing it again."""
