"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) for Keras 3."""
