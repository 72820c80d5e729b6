"""Greedy ensemble selection: from stored results to paths, held-out accuracies and what they must beat."""
