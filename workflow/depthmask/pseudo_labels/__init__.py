"""Depth maps of sources that have none, by a pretrained depth network of the `transformers` package (extra `teacher`).

`catalog/model_folder.py` finds the network's files and says, from its configuration alone, what it gives; `network` runs it;
`labels` keeps what it gave by content, and lays it where the source's layout looks for depth maps.
"""
