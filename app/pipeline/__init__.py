"""From frames to finished results: stages wired together, one thread per kind of work, joined by bounded queues."""
