"""Searches on a cluster that is elsewhere: started there as a Ray job, and followed from here."""
