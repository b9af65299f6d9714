"""The field's data sets, each read to one typed sample (docs/datasets.md)."""
