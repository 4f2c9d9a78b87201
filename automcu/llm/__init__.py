"""Language models behind one small seam: the client, its implementations, and the reader of what they reply."""
