"""TensorRT: engines built, opened and run; nothing here imports TensorRT or CUDA before it is needed."""
