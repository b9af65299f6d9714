"""Metrics, parity with the official implementations, benchmarks and reports."""
