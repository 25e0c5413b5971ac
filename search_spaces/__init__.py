"""Search spaces: what may be tried, as YAML writes it, and how proposals are drawn."""
