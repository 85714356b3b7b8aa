"""What models share that learn item vectors from sessions."""
