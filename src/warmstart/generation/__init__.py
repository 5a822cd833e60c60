"""How does a model generate text?"""
