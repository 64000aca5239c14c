"""Names and constants that flags offer. Needs no TensorFlow, so that `--help` is fast."""

# What --dataset takes.
DATASET_FORMS = (
    "photos, folder:<dir>, ilsvrc:<dir>, a directory written by pipelines.prepare, or a TFDS name such as imagenet2012"
)

# sorted: the order of the dataset, which for image folders and ImageNet is by name.
# devkit: by ILSVRC2012_ID, the number that the development kit of the challenge gives a class.
CLASS_ORDERS = ("sorted", "devkit")

# Side of the resized image in pixels by default (paper, section 2).
RESIZED_SIZE = 256

# shorter_side: the shorter side becomes that long, then the centre is cut out (paper, section 2).
# warp: both sides become that long, whatever the shape (the networks released with Caffe).
# torchvision: as shorter_side, with the rounding of torchvision's Resize and CenterCrop: the longer side is rounded
# down, and a margin that ends in a half goes to the even number.
RESIZE_POLICIES = ("shorter_side", "warp", "torchvision")

# Larger images are refused by default: 50 million pixels are 150 MB once decoded.
MAX_PIXELS = 50_000_000

# Up to this side, resized images are stored as PNG, without loss. JPEG halves the resolution of colours and rounds in
# blocks of 8 x 8 pixels, of which a small image has few.
LOSSLESS_SIZE = 64

# Quality of the resized JPEG, as in cuda-convnet2's make-data.py, by the author of the paper.
JPEG_QUALITY = 95

# center: one crop. ten: the corners and the centre, and their horizontal flips (paper, section 4.1).
CROPS = ("center", "ten")

# Those of evaluation. nine: a grid of 3 x 3, not flipped (cuda-convnet's test of its networks for CIFAR-10).
EVALUATION_CROPS = (*CROPS, "nine")

# What training cuts out of the resized image and flips at random. crop: a random crop (paper, section 4.1).
# random_resized: a window of random area and shape, resized to the crop (Szegedy et al., CVPR 2015, section 6).
# pad4: a random crop of the image with four pixels of padding on each side (He et al., CVPR 2016, section 4.2).
# none: the centre, never flipped.
AUGMENTATIONS = ("crop", "random_resized", "pad4", "none")

# paper: as printed. source2012: as in the released code. none: no shift.
COLOR_AUGMENTATIONS = ("paper", "source2012", "none")

# Which crop of the mean image is subtracted. central: the centre, wherever the image crop is from (2012 code).
# crop: the one where the image crop is from, flipped with it (Caffe).
MEAN_CROPS = ("central", "crop")

# local: processes of this machine. ray: the Ray cluster that RAY_ADDRESS names, or one on this machine.
RUNNERS = ("local", "ray")
