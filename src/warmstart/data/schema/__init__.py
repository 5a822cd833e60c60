"""What are these columns?"""
