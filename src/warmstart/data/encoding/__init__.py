"""How do rows become tokens, hashed words and batches?"""
