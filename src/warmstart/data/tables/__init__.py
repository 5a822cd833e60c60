"""How do files and data frames become one table?"""
