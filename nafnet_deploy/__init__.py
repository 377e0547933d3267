"""NAFNet-family image restoration, from PyTorch to production.

    from nafnet_deploy import Restorer
    restored = Restorer.from_pretrained("denoise-light")(picture)

Names are loaded when they are first used (PEP 562), so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nafnet_deploy.runtime.api import Restorer

__version__ = "0.1.0"
__all__ = ["Restorer", "__version__"]
_HOMES = {"Restorer": "nafnet_deploy.runtime.api"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
