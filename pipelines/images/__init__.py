"""Single images: decoding, orientation, crops and augmentation."""
