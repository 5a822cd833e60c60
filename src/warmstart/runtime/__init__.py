"""Device, processes and files."""
