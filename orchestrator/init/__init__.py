"""`equipoise init`: an experiment file from a table, folders or a data set."""
