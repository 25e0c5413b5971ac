"""Experiment files: `load_spec` reads one, with every problem at once, into an `ExperimentSpec`."""

from orchestrator.spec.load import load_spec, parse_spec
from orchestrator.spec.sections import ComputeConfig, ExperimentSpec, PerWorker, TrackingConfig

__all__ = ["ComputeConfig", "ExperimentSpec", "PerWorker", "TrackingConfig", "load_spec", "parse_spec"]
