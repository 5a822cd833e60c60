"""Rows: checked, deduplicated and split."""
