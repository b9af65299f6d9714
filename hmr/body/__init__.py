"""Body models in SMPL's layout: joints, files, skinning in numpy (`body_model`) and in torch (`torch_body`)."""
