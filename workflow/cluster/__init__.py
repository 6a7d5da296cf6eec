"""What only Snakemake needs, on a cluster or where jobs are stopped from outside; no stage imports it."""
