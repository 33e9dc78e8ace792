"""The intermediate representation: typed graphs, their ops, derivatives and passes.

Nothing here knows of tracing or of LLVM.
"""
