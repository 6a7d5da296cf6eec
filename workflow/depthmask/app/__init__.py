"""The local page of `depthmask app`: a photo in, mask, cut-out, depth and a scene to turn out.

`choices` says which model files are offered, `worker` predicts one photo at a time, `results` keeps the last result of each open
page and packs it, `shown` is what the browser gets of it, `page` is laid out with Gradio, and `server` serves it.
"""
