"""Names of signatures, inputs and outputs: the only place that spells them.

Exporter, embedded server, client and tests read these names. The batch is the first dimension everywhere.

| signature            | input                                 | outputs                                              |
|----------------------|---------------------------------------|------------------------------------------------------|
| SIGNATURE_TEN_CROP   | INPUT_BYTES string [N], JPEG or PNG   | PROBABILITIES f32 [N,C], SCORES f32 [N,K],           |
|                      |                                       | CLASSES i32 [N,K], LABELS string [N,K], VALID bool[N]|
| SIGNATURE_CENTER     | the same                              | the same, from the centre crop: ten times cheaper    |
| SIGNATURE_IMAGES     | INPUT_IMAGES uint8 [N,R,R,3] RGB      | the same without VALID, from ten crops               |
| SIGNATURE_FEATURES   | INPUT_BYTES                           | FEATURES f32 [N,F], the input of the classifier layer|
|                      |                                       | for the centre crop (fc7 of AlexNet); VALID          |

K is TOP_K unless the export chose another number, or the number of classes C where that is smaller. R is the resize
size of the network, 256 for AlexNet. An image that cannot be decoded has VALID false, zeros (and empty labels) in its
own row, and does not affect other rows.
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
# Files in assets/ with one line per class: its name in the dataset, and its value in OUTPUT_LABELS, such as
# "n02124075" and "n02124075 Egyptian cat". The two are equal where there are no display names.
CLASS_NAMES_ASSET = "class_names.txt"
LABELS_ASSET = "labels.txt"
