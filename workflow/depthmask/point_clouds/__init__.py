"""Point clouds of predicted photos: the points, their files, and a view of them that turns."""
