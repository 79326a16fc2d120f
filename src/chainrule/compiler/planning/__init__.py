"""From a graph at known sizes to a program in place: recording, lowering, memory, writing."""
