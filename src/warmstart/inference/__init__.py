"""How is a saved model used?"""
