"""Which ways of training are there?"""
