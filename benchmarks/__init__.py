"""Ratios against limits and peers, measured in turns, each contender in a process of its own."""
