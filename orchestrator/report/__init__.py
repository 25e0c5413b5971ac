"""What a search found, for people and programs: read from its journal, without MLflow, Ray or torch."""
