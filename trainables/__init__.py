"""What trains one model: its config, data, model, tasks, balancing and training. Knows neither Ray nor MLflow."""
