"""The commands of the program `bodycast`, one module each; `main` finds and runs them."""
