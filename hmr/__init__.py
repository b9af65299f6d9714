"""Human mesh recovery: the science, no input or output. See docs/conventions.md."""
