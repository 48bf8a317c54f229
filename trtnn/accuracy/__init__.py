"""What half precision does to a network, and which modules are better kept out of it."""
