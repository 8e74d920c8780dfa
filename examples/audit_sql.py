"""Query the Parquet files of an audit with DuckDB and polars.

python examples/audit_sql.py
"""

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import polars

import camlens.audit

with tempfile.TemporaryDirectory() as folder:
    audit = camlens.audit.run("demo:watermark", "demo:watermark", Path(folder) / "run", limit=120, report=False)
    shards = f"{audit.path}/shards/*.parquet"
    names = list(audit.class_names)

    print("How confident are correct and incorrect predictions? (DuckDB)")
    question = f"""
        select correct, count(*) as images, avg(confidence) as confidence, avg(corner_energy) as corner
        from '{shards}' where error is null group by correct order by correct desc
    """
    for correct, images, confidence, corner in duckdb.sql(question).fetchall():
        answers = "correct" if correct else "incorrect"
        print(f"  {answers}: {images} images, confidence {confidence:.0%}, {corner:.0%} of the evidence in the corners")

    print("Which class has its evidence in the corners? (polars)")
    corners = (
        polars.scan_parquet(shards)
        .group_by("predicted")
        .agg(polars.col("corner_energy").mean(), polars.len().alias("images"))
        .sort("corner_energy", descending=True)
        .collect()
    )
    for row in corners.head(3).iter_rows(named=True):
        print(f"  {names[row['predicted']]}: {row['corner_energy']:.1%} in the corners of {row['images']} images")

    print("Which two images have the most similar embeddings? (DuckDB)")
    alike = f"""
        with features as (select id, embedding::float[{audit.manifest.embedding_width}] as features from '{shards}')
        select a.id, b.id, array_cosine_similarity(a.features, b.features) as likeness
        from features a join features b on a.id < b.id order by likeness desc limit 1
    """
    first, second, likeness = duckdb.sql(alike).fetchall()[0]
    print(f"  {first} and {second}, cosine {likeness:.3f}")

    maps = np.stack(duckdb.sql(f"select map_predicted from '{shards}' order by index").fetchnumpy()["map_predicted"])
    assert maps.shape == (len(audit), audit.grid[0] * audit.grid[1])
