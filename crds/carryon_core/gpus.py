"""What a GPU is called, by a worker and by the labels of nodes."""

from __future__ import annotations

import re
from typing import Final

PRODUCT_LABEL: Final = "nvidia.com/gpu.product"
_PRODUCT: Final = re.compile(r"(NVIDIA|Tesla|GeForce|Quadro|GRID)[A-Za-z0-9._-]{1,45}[A-Za-z0-9]")


def gpu_product(device: str) -> str:
    """The label nvidia.com/gpu.product of nodes with a GPU, from what a worker calls it; "" for what is no such GPU.

    NVIDIA's feature discovery takes the name that the driver gives, with dashes for spaces; torch asks the same driver.

    Args:
        device: Such as "NVIDIA A100-SXM4-80GB, 8.0, 108 SM".
    """
    product = device.partition(",")[0].strip().replace(" ", "-")
    return product if _PRODUCT.fullmatch(product) else ""
