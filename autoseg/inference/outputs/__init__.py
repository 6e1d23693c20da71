"""What is written of a prediction: masks, probabilities, pictures, DICOM objects, ONNX."""
