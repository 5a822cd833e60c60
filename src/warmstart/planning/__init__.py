"""What will training take, and what fits the budget?"""
