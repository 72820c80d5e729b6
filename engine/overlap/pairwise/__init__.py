"""All pairs of a dataset's variants: joint outcomes and two-model ensembles, as tables, incrementally and anywhere."""
