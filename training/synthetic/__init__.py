"""Synthetic people with exact labels: the embedded body, dressed by painting, posed by motion capture, photographed."""
