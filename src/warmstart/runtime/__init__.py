"""Which device, processes and files does a run use?"""
