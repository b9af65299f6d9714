"""Image encoders, one file per family, one contract.

Every encoder has `feature_info`, a list of (channels, stride) per kept stage, `image_hw`, and
`forward(images) -> list of maps`: normalised images (B, 3, H, W) in, one map (B, C, H / stride, W / stride)
per kept stage out, the last one being what a decoder reads. Height and width are fixed at construction, the
batch is free.
"""
