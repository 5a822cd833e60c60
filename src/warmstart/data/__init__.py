"""How do files become batches?"""
