"""Training: batches and augmentation, the recipe, the k-fold loop, the run directory."""
