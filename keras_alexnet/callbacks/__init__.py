"""Keras callbacks, used by `model.fit(callbacks=[...])` and by the train command alike.

`schedules`: learning rates; `resume`: checkpoints; `csv_log` and `tensorboard`: logs; `diagnostics`: early signs that a
training goes wrong.
"""
