"""How does one run get from its start to its record?"""
