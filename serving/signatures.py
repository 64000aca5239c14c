"""The wire: the one place where signatures, their inputs and their outputs are named.

Exporter, embedded server, client and tests all read these names. The batch is the first dimension everywhere.

| signature            | input                               | outputs                                              |
|----------------------|-------------------------------------|------------------------------------------------------|
| SIGNATURE_TEN_CROP   | INPUT_BYTES string [N], JPEG or PNG | PROBABILITIES f32 [N,C], SCORES f32 [N,K],           |
|                      |                                     | CLASSES i32 [N,K], LABELS string [N,K], VALID bool[N]|
| SIGNATURE_CENTER     | the same                            | the same, from one view: ten times cheaper           |
| SIGNATURE_IMAGES     | INPUT_IMAGES uint8 [N,256,256,3] RGB| the same without VALID, from ten views               |
| SIGNATURE_FEATURES   | INPUT_BYTES                         | FEATURES f32 [N,4096] (fc7, centre view), VALID      |

K is TOP_K, or the number of classes C where that is smaller. An image that cannot be decoded has VALID false, zeros
(and empty labels) in its own row, and changes no other row.
"""

SIGNATURE_TEN_CROP = "serving_default"
SIGNATURE_CENTER = "center_crop"
SIGNATURE_IMAGES = "images"
SIGNATURE_FEATURES = "features"

INPUT_BYTES = "image_bytes"
INPUT_IMAGES = "images"

OUTPUT_PROBABILITIES = "probabilities"
OUTPUT_SCORES = "scores"
OUTPUT_CLASSES = "classes"
OUTPUT_LABELS = "labels"
OUTPUT_VALID = "valid"
OUTPUT_FEATURES = "features"

TOP_K = 5
# Files in assets/, one line a class: its name in the dataset, and what OUTPUT_LABELS answers for it, such as
# "n02124075" and "n02124075 Egyptian cat". They are the same where nobody has named the classes for people.
CLASS_NAMES_ASSET = "class_names.txt"
LABELS_ASSET = "labels.txt"
