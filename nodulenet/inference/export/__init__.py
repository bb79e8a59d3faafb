"""Models as files that other programs compute with, and the proof that they answer the same."""
