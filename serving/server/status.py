"""Errors of requests, as gRPC statuses."""

import grpc
import tensorflow as tf

# An error travels in an HTTP/2 header, which gRPC limits to 8 KiB: a longer message would hide its own status.
_LONGEST_MESSAGE = 2000

_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RequestError(Exception):
    """An error with a gRPC status code.

    Attributes:
        code: the status of the response.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(" ".join(message.split())[:_LONGEST_MESSAGE])
        self.code = code


def from_tensorflow(error: tf.errors.OpError) -> RequestError:
    """The status of a graph's failure, which TensorFlow Serving passes on."""
    return RequestError(_STATUS_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)
