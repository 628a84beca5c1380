"""Build, open and run TensorRT engines. TensorRT and CUDA are imported when first needed, not before."""
