"""What only concerns Snakemake on a cluster; no stage imports it."""
