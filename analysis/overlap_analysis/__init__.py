"""Arrays in, arrays out: pair metrics, ensembles and selection over model predictions."""
