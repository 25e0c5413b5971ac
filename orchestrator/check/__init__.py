"""`equipoise check`: everything that can be known without training."""
