"""Night after night: what is measured (`night`), what a series is (`series`) and what was new (`news`); whether something has changed
(`detection`, beside what is remembered, `memory`: which `lines` are watched, what their `rounds` tell, by how much they vary by themselves,
`noise`, which `looks` are taken at them, and what is said, a `verdict`), on whose side (`attribution`), and what would have been found of a
planted fault (`simulation`)."""
