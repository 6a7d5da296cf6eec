"""Depth maps of sources that have none, by a pretrained depth network of the `transformers` package (extra `pseudo-labels`).

`catalog/model_folder.py` finds the model's files and reads from its configuration what it predicts; `network` runs it;
`labels` caches the depth maps by the image's content and copies them to where the source's layout expects depth maps.
"""
