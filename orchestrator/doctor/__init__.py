"""`equipoise doctor`: whether this machine, its Ray and its MLflow would carry a run, and what to change if not."""
