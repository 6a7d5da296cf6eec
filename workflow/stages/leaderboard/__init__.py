"""Stages of the leaderboard's graph, one script each."""
