"""Keeps pytest from importing, when it looks for doctests, what other processes run: it would import Ray here."""

collect_ignore = ["gcs_view.py", "refusing_provider.py"]
