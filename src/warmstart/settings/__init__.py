"""Which settings are there?"""
