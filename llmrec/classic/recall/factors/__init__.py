"""What factorisations share."""
