"""How much time, memory and money will it take, and what fits the budget?"""
