"""The pages over an audit run, one module each; everything lies under /api/audit."""

import importlib
import pkgutil

from fastapi import APIRouter

router = APIRouter(prefix="/audit")
for _module in sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_"):
    router.include_router(importlib.import_module(f"{__name__}.{_module}").router)
