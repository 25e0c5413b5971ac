"""What a run leaves on disk: its folder, its journal, who conducts it."""
