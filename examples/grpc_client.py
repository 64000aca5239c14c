"""Query TensorFlow Serving with nothing but grpcio and protobuf.

    python examples/grpc_client.py 127.0.0.1:8500 alexnet photo.jpg

protos/predict_pb2.py comes from protos/predict.proto; copy both beside your program.
"""

import pathlib
import sys

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).parent / "protos"))
from predict_pb2 import PredictRequest, PredictResponse


def classify(channel: grpc.Channel, model: str, images: list[bytes]) -> list[list[tuple[str, float]]]:
    """The top labels and scores of JPEG or PNG files; an empty list for one that cannot be decoded."""
    predict = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=PredictRequest.SerializeToString,
        response_deserializer=PredictResponse.FromString,
    )
    request = PredictRequest()
    request.model_spec.name = model
    tensor = request.inputs["image_bytes"]
    tensor.dtype = 7  # tensorflow.DataType.DT_STRING
    tensor.tensor_shape.dim.add(size=len(images))
    tensor.string_val.extend(images)

    outputs = predict(request, timeout=30).outputs
    labels, scores, valid = outputs["labels"].string_val, outputs["scores"].float_val, outputs["valid"].bool_val
    top, rest = divmod(len(labels), len(images))
    if rest or len(scores) != len(labels) or len(valid) != len(images):
        raise ValueError(f"{len(labels)} labels, {len(scores)} scores, {len(valid)} valid for {len(images)} images")
    # Labels of a server that you do not know could hold control characters of terminals.
    names = ["".join(filter(str.isprintable, label.decode(errors="replace"))) for label in labels]
    predictions = list(zip(names, scores, strict=True))
    return [predictions[row * top : (row + 1) * top] if valid[row] else [] for row in range(len(images))]


def main(server: str, model: str, *files: str) -> None:
    """Prints the predictions for each file."""
    with grpc.insecure_channel(server) as channel:
        predictions = classify(channel, model, [pathlib.Path(file).read_bytes() for file in files])
        for file, row in zip(files, predictions, strict=True):
            print(file, "  ".join(f"{label} {score:.3f}" for label, score in row) or "cannot be decoded")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()!r}")
    except (OSError, ValueError) as error:
        sys.exit(str(error))
