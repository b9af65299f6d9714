"""Training: synthetic people, dataset readers, losses, the training loop. Needs requirements/train.txt."""

from bodycast.no_telemetry import switch_off

switch_off()
