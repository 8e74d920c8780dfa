"""How a model is looked into: types, errors, registries, layouts, layers, targets, capture and probe."""
