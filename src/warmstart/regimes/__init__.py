"""Which ways of training exist?"""
