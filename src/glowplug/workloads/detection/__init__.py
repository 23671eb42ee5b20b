"""Object detectors: trained on YOLO-format folders, converted to ONNX, and used, by an engine behind one contract."""
