"""Files and frames as one table."""
