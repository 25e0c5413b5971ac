"""`equipoise probe`: where in the backbone tasks conflict, and from where on each could have its own."""
