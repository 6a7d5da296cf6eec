"""Point clouds of predicted photos: the points, their files, and an interactive view of them."""
