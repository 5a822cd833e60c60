"""How does a trained model answer over HTTP?"""
