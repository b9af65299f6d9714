"""Networks of the three papers: encoders, merging, decoders, heads, temporal."""
