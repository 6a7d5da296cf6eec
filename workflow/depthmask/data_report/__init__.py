"""What is in the data that params.yaml names, before any run: counts, ranges, what is odd, and examples.

`opening` finds the data without copying them, `looking` reads them, `text` prints the report, `page` writes it with images. No
stage imports this folder.
"""
