"""Which regime is recommended, and how confidently?"""
