"""How does a trained model go into the formats of other tools, and does it still score the same there?"""
