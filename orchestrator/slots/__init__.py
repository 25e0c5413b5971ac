"""Warm places where trials run, behind one protocol (`base.TrialSlot`)."""
