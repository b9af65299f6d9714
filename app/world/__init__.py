"""Where people stand: the floor, contacts of feet with it, one body a person, and a root trajectory that holds them."""
