"""Predictions that were made elsewhere become a store, on which everything works as on a sweep's."""

from overlap.imports.into_store import Imported, ImportedVariant, import_predictions

__all__ = ["Imported", "ImportedVariant", "import_predictions"]
