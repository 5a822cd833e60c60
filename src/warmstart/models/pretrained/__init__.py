"""Pretrained models: where they are, what is in them, under which licence."""
