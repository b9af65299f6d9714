"""Weights in, model packages out, with a parity report. Needs requirements/export.txt."""
