"""Metrics, parity with the official implementations, benchmarks and reports."""

from bodycast.no_telemetry import switch_off

switch_off()
