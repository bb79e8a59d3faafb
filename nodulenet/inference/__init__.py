"""Answers on new scans and patches: what a trained run knows, and how it is asked."""
