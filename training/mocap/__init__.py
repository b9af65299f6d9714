"""Motion capture: reading BVH clips and carrying them over to SMPL's skeleton."""
