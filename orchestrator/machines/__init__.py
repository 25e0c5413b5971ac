"""Where trials run: the Ray that is joined or started, and what its machines have."""
