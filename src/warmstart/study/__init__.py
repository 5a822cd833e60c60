"""Which runs, in which order, into which folder?"""
