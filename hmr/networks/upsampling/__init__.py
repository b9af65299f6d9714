"""Feature upsampling (FeatUp's joint bilateral upsampler)."""
