"""What trials leave on disk: which of it is still needed, a quota for it, and `equipoise clean`."""
