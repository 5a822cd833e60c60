"""A saved model in use."""
