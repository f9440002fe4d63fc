"""The exported model without torch: ONNX graphs run by ONNX Runtime, the frame pass perhaps by OpenVINO."""
