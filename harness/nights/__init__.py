"""Night after night: what is measured (`night`), what a series is (`series`), whether something has changed (`lines`, `detection`), on
whose side (`attribution`), and what would have been found of a planted fault (`simulation`)."""
