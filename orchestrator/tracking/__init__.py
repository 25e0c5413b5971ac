"""MLflow: a process of its own that turns the journal of a search into runs, and the UI on them."""
