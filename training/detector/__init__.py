"""The person detector's pictures and training."""
