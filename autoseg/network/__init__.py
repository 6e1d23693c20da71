"""The fully convolutional network, and what it costs."""
