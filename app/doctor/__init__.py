"""`bodycast doctor`: what can run on this machine, and why the rest cannot."""
