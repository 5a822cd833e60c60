"""What did the user request?"""
