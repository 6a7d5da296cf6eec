"""`depthmask cutouts`: cut-outs and backgrounds from annotated photos, in the layout that `source: assets` reads.

`formats.py` lists the readers, one file each: a reader lists pictures, each with an object that finds what is annotated in it
(`objects.py`). `making.py` turns one picture into files, `running.py` does so for all in parallel and resumes, `results.py`
and `sheet.py` write what was made and what was left out. No stage imports any of this.
"""
