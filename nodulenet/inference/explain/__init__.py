"""Which parts of a patch an answer rests on: Grad-CAM, occlusion, and the files they become."""
