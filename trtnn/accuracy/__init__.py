"""What half precision and quantisation do to a network, and which modules are better kept out of them."""
