"""Code generation: graph -> loop program -> LLVM -> native code. Knows nothing of tracing."""
