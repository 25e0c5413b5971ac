"""Experiment files that several tests begin with."""

SMALL = """\
name: small
data: {source: "builtin:digits-pair"}
tasks:
  left: {type: multiclass, label: left}
  right: {type: multiclass, label: right}
"""
