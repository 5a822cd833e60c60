"""What learns without the training loop?"""
