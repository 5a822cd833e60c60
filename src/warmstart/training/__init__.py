"""How are weights updated?"""
