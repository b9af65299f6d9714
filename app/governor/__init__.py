"""Keeping a live run in time: what is traded, in which order, and when it is given back."""
