"""What torch models of histories share."""
