"""The columns of a run: one row per image, in the order of the plan.

| column | type | content |
|---|---|---|
| index | int64 | position in the plan, from 0 |
| id | string | name of the image in its source |
| path | string, null | file or URL; null if the image is not a file |
| label, predicted | int32, null | true and predicted class, as indices into `class_names` |
| correct | bool, null | label == predicted |
| confidence, label_confidence | float32, null | probability of the predicted and the true class |
| margin | float32, null | confidence minus the probability of the second class |
| loss | float32, null | cross entropy, -ln(label_confidence) |
| top_classes, top_confidences | list, null | the most likely classes, most likely first |
| embedding | float16[d], null | penultimate features |
| map_predicted, map_label | float16[h*w], null | signed map of the layer's grid, row by row, divided by its scale |
| map_predicted_scale, map_label_scale | float32, null | largest absolute value of the map: map = stored * scale |
| entropy ... inside_energy | float32, null | measures of map_predicted, see `MEASURES` |
| width, height | int32, null | size of the image in pixels, upright |
| error | string, null | why there is no prediction; all but index, id, path and label are then null |

`map_label` is null if the prediction is correct or there is no label.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camlens.audit.store.arrow import arrow

SCHEMA_VERSION = 3
MEASURES = (
    "entropy",
    "border_energy",
    "corner_energy",
    "centre_y",
    "centre_x",
    "spread",
    "peak_y",
    "peak_x",
    "inside_energy",
)
INTEGERS = ("label", "predicted", "width", "height")
FLOATS = ("confidence", "label_confidence", "margin", "loss", "map_predicted_scale", "map_label_scale", *MEASURES)
STRINGS = ("id", "path", "error")
ARRAYS = ("embedding", "map_predicted", "map_label")
LISTS = ("top_classes", "top_confidences")

Columns = Mapping[str, Any]


def row_schema(width: int, grid: Sequence[int]) -> Any:
    """Return the pyarrow schema for embeddings of `width` features and maps of `grid` (h, w) cells."""
    pa = arrow()
    cells = int(np.prod(grid))
    small, real = pa.int32(), pa.float32()
    fields = [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string()),
        pa.field("label", small),
        pa.field("predicted", small),
        pa.field("correct", pa.bool_()),
        *(pa.field(name, real) for name in FLOATS[:4]),
        pa.field("top_classes", pa.list_(small)),
        pa.field("top_confidences", pa.list_(real)),
        pa.field("embedding", pa.list_(pa.float16(), width)),
        pa.field("map_predicted", pa.list_(pa.float16(), cells)),
        pa.field("map_label", pa.list_(pa.float16(), cells)),
        *(pa.field(name, real) for name in FLOATS[4:]),
        pa.field("width", small),
        pa.field("height", small),
        pa.field("error", pa.string()),
    ]
    return pa.schema(fields)


def rows_table(columns: Columns, schema: Any) -> Any:
    """Return a pyarrow table of the columns, given as arrays.

    Null is given as a negative integer or as NaN; in `embedding` and the maps (n, cells), as a row whose first value
    is NaN. `correct` is computed from `label` and `predicted`.
    """
    pa = arrow()
    label, predicted = (np.asarray(columns[name]) for name in ("label", "predicted"))
    known = (label >= 0) & (predicted >= 0)
    arrays = []
    for field in schema:
        if field.name == "correct":
            arrays.append(pa.array(label == predicted, mask=~known))
            continue
        values = columns[field.name]
        if field.name in INTEGERS:
            values = np.asarray(values, np.int32)
            arrays.append(pa.array(values, mask=values < 0))
        elif field.name in FLOATS:
            arrays.append(pa.array(np.asarray(values, np.float32), from_pandas=True))
        elif field.name in ARRAYS:
            arrays.append(_lists_of_one_length(np.asarray(values, np.float16), field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def _lists_of_one_length(values: NDArray[np.float16], kind: Any) -> Any:
    pa = arrow()
    absent = np.isnan(values[:, 0])
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind, mask=pa.array(absent))


def write_options() -> dict[str, Any]:
    """Return the Parquet options of a shard: all but embeddings and maps, which hardly shrink, is compressed."""
    plain = {"embedding": "NONE", "map_predicted": "NONE", "map_label": "NONE"}
    names = ("index", *STRINGS, *INTEGERS, "correct", *FLOATS, *LISTS)
    return {
        "compression": {
            **{f"{name}.list.element": kind for name, kind in plain.items()},
            **{name if name not in LISTS else f"{name}.list.element": "ZSTD" for name in names},
        },
        "use_dictionary": ["label", "predicted", "error"],
        "write_page_checksum": True,
        "write_statistics": ["index", "label", "predicted", "confidence"],
    }
