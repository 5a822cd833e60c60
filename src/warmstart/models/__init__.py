"""What is trained?"""
