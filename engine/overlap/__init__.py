"""Sweep vision models on Ray and analyse which of them fail on different examples."""
