"""Report: what does somebody read who did not run the study?"""
