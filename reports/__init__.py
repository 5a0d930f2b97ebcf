"""Reports: what people look at, made from stored results alone."""
