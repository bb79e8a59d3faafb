"""Patches: what they are, the store that holds them, the folds and the audit over them."""
