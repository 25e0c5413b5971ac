"""The sections of an experiment file that describe one trial, as frozen pydantic models. Imports no torch."""
