"""FastHMR's two mergings: of transformer blocks (ECLM) and of tokens (Mask-ToMe)."""
