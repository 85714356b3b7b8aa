"""What TIGER is made of."""
