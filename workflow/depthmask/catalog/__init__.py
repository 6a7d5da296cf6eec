"""What params.yaml says of where the data come from, checked before anything is fetched: named sets, archives, models."""
