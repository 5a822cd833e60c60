"""Which rows can be used, which are copies, and how are they split?"""
