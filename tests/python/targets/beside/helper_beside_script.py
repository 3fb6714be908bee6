word = "neighbour"
