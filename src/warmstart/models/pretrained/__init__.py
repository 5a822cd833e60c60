"""Where are pretrained models, what do they contain, and under which license?"""
