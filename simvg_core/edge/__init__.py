"""The exported model without torch: ONNX graphs run by ONNX Runtime or OpenVINO."""
