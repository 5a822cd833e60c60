"""What does somebody read who did not run it?"""
