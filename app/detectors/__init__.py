"""Where people are found in a frame."""
