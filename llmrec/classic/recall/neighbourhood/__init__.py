"""What neighbourhood models share."""
