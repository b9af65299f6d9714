"""Training: synthetic people, dataset readers, losses, the training loop. Needs requirements/train.txt."""
