"""What is typed, what is printed?"""
