"""Losses and metrics per task."""
