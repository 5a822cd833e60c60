"""Torture: does what was saved survive kills, damage, a full disk, and numbers that are none? Run: make torture."""
