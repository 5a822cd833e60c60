"""Deliver: the trained model in use."""
