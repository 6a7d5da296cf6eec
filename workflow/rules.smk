"""A rule for each stage, and one for the shards of each stage built in shards; see common.smk."""

for stage in STAGES:

    rule:
        name:
            stage.rule
        input:
            list_inputs(stage, *stage.shards),
        output:
            [declare_output(stage, path) for path in stage.outputs],
        log:
            stage.log,
        benchmark:
            f"logs/benchmarks/{stage.rule}.tsv"
        retries: count_retries(stage.rule, stage.log)
        conda:
            "envs/depthmask.yaml"
        threads: stage.threads
        localrule: is_local(stage)
        resources:
            **request_resources(stage),
        params:
            rule=lambda wildcards, stage=stage: stage.rule,  # a function: some rules are named as their output folder begins
            job=stage.job,
            values=stage.params,
            devices=count_devices,
        message:
            f"{stage.name}: {stage.description} (to follow it: tail -f {stage.log})".replace("{", "{{").replace("}", "}}")
        shell:
            JOB


for stage in [stage for stage in STAGES if stage.shards]:

    rule:
        name:
            f"{stage.rule}_shard"
        input:
            list_inputs(stage),
        output:
            temp(str(PurePosixPath(stage.shards[0]).with_name("{shard}.json"))),
        log:
            f"logs/{stage.rule}/{{shard}}.log",
        retries: count_retries(f"{stage.rule}_shard", stage.log)
        conda:
            "envs/depthmask.yaml"
        resources:
            **request_resources(stage),
        params:
            rule=lambda wildcards, stage=stage: f"{stage.rule}_shard",
            job=lambda wildcards, stage=stage: stage.shard_job(int(wildcards.shard)),
            values=stage.params,
            devices=1,
        shell:
            JOB
