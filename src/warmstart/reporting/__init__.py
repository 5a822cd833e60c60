"""How is a study presented? The HTML report."""
