"""What stands on either side of the wire; knows the signatures, not the network."""
