"""Which features are read of a row: terms of its text, and its columns as numbers and categories?"""
