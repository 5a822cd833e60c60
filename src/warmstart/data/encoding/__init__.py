"""Rows as tokens, hashed words and batches."""
