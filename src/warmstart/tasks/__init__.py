"""What is predicted, with which loss and which score of an example?"""
