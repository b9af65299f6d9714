"""Clothes, shoes, hats, hair and glasses that hang on the embedded body."""
