"""What was measured?"""
