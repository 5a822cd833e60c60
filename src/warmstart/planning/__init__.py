"""What will it take, and what fits the budget?"""
