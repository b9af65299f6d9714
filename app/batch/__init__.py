"""Many films, one after another, with networks that stay open (docs/batch.md)."""
