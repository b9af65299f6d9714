"""Weights in, model packages out, with a parity report. Needs requirements/export.txt."""

from bodycast.no_telemetry import switch_off

switch_off()
