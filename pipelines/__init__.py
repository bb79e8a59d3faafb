"""Recipes over the public API, to be read, run and copied."""
