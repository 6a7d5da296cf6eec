"""Where data come from according to params.yaml, checked before anything is fetched: named sets, archives, models."""
