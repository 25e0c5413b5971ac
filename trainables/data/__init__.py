"""Images, labels and splits: from the `data` section to arrays that every trial maps into memory."""
