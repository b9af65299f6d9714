"""What the program says of rendered people whose contacts with the floor are known, and the network that learns it."""
