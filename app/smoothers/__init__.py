"""Steady motion over time."""
