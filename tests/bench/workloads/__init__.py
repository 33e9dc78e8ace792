"""The workloads: plain NumPy functions, their data, and their gradients written by hand."""

from workloads import (
    clusters,
    elementwise,
    hvp,
    irregular,
    kernels,
    networks,
    rows,
    sequential,
)
from workloads.workload import Workload

ALL: tuple[Workload, ...] = (
    *elementwise.WORKLOADS,
    *rows.WORKLOADS,
    *networks.WORKLOADS,
    *hvp.WORKLOADS,
    *clusters.WORKLOADS,
    *irregular.WORKLOADS,
    *sequential.WORKLOADS,
    *kernels.WORKLOADS,
)
