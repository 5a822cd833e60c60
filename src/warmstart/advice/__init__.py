"""Which regime is recommended, how confidently, and what is the next step?"""
