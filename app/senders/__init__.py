"""Senders: what is seen goes to other programs, live."""
