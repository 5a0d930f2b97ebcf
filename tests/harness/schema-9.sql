BEGIN TRANSACTION;
CREATE TABLE calibrations (
	id INTEGER NOT NULL, 
	made_at VARCHAR NOT NULL, 
	machine VARCHAR NOT NULL, 
	protocol INTEGER NOT NULL, 
	recordings JSON NOT NULL, 
	rates JSON, 
	PRIMARY KEY (id)
);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	at VARCHAR NOT NULL, 
	machine VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	text VARCHAR NOT NULL, 
	who VARCHAR NOT NULL, 
	detail JSON NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE info (
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "info" VALUES('schema','9');
CREATE TABLE nights (
	run INTEGER NOT NULL, 
	judged_at VARCHAR NOT NULL, 
	verdict JSON NOT NULL, 
	PRIMARY KEY (run), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "nights" VALUES(1,'2026-11-28T00:33:17+00:00','{"base": 3, "notes": [], "verdict": {"night": 1, "findings": [], "recovered": [], "refuted": [], "undecided": [], "erratic": null, "judged": 12, "unjudged": [], "fresh_rounds": 4, "probes": [{"line": "probe product", "path": "tonight", "p": 0.4, "q": 0.9, "shift": {"estimate": 1.01, "low": 0.98, "high": 1.04}, "since": 1, "rounds": 5}]}}');
CREATE TABLE probes (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	seconds JSON NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "probes" VALUES(1,1,1,'{"product": 0.01}');
CREATE TABLE published (
	id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	imported_at VARCHAR NOT NULL, 
	source VARCHAR NOT NULL, 
	figures JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
CREATE TABLE results (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	workload VARCHAR NOT NULL, 
	framework VARCHAR NOT NULL, 
	variant VARCHAR NOT NULL, 
	device VARCHAR NOT NULL, 
	threads INTEGER NOT NULL, 
	mini_batch INTEGER NOT NULL, 
	precision VARCHAR NOT NULL, 
	mode VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	proof JSON, 
	environment JSON NOT NULL, 
	command VARCHAR NOT NULL, 
	limits JSON NOT NULL, 
	log JSON NOT NULL, 
	definition VARCHAR DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (run, workload, framework, variant, device, threads, mini_batch, precision, mode), 
	FOREIGN KEY(run) REFERENCES runs (id)
);
INSERT INTO "results" VALUES(1,1,'fcn-5-tiny','null','default','cpu',1,8,'float32','train','ok','','{"equal": true, "reason": "", "tiny": {"error": 1e-06, "where": "loss after step 1", "share_of_bound": 0.1}, "threads": 1, "full_size": {"error": 1e-06, "where": "loss after step 1", "share_of_bound": 0.1}}','{"digest": "abc", "packages": {"numpy": "2"}}','python worker.py','{"flops_per_second": 100000000000.0, "bytes_per_second": 20000000000.0}','[]','d');
CREATE TABLE rounds (
	id INTEGER NOT NULL, 
	result INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	part INTEGER NOT NULL, 
	record JSON NOT NULL, 
	turns TEXT DEFAULT '[]' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (result, number, part), 
	FOREIGN KEY(result) REFERENCES results (id)
);
INSERT INTO "rounds" VALUES(1,1,1,0,'{"number": 1, "part": 0, "started_at": "2026-11-27T00:00:00+00:00", "cpus": [0], "load_seconds": 1.5, "build_seconds": 0.5, "first_step_seconds": 2.0, "check": {"error": 1e-06, "where": "loss after step 1", "share_of_bound": 0.1}, "peak_memory_bytes": 1000000000, "shape": "flat", "warm_up_steps": 0, "disturbance": "", "first_step_at": 0.0, "peak_device_bytes": null, "seconds_per_step": 0.02, "steady_seconds_per_step": 0.02}','[{"lap": 0, "place": 0, "settling_seconds": 0.6, "seconds": [0.02, 0.021], "last_step": 3, "loss": 2.1, "wall_seconds": 0.8, "cpu_seconds": 0.7, "ready_seconds": 0.75, "looked_seconds": 0.9, "late_seconds": 1e-06, "major_faults": 0, "minor_faults": 3, "involuntary_switches": 1, "machine": {"seconds": 1.0, "steal_share": 0.0, "others_share": 0.01, "cpu_pressure": 0.0, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": null, "frequency_hertz": 3000000000.0, "temperature_celsius": 61.5, "package_joules": null, "gpu": null}, "device_seconds": []}, {"lap": 1, "place": 0, "settling_seconds": 0.6, "seconds": [0.02, 0.021], "last_step": 3, "loss": 2.1, "wall_seconds": 0.8, "cpu_seconds": 0.7, "ready_seconds": 0.75, "looked_seconds": 0.9, "late_seconds": 1e-06, "major_faults": 0, "minor_faults": 3, "involuntary_switches": 1, "machine": {"seconds": 1.0, "steal_share": 0.0, "others_share": 0.01, "cpu_pressure": 0.0, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": null, "frequency_hertz": 3000000000.0, "temperature_celsius": 61.5, "package_joules": null, "gpu": null}, "device_seconds": []}]');
INSERT INTO "rounds" VALUES(2,1,2,0,'{"number": 2, "part": 0, "started_at": "2026-11-27T00:00:00+00:00", "cpus": [0], "load_seconds": 1.5, "build_seconds": 0.5, "first_step_seconds": 2.0, "check": {"error": 1e-06, "where": "loss after step 1", "share_of_bound": 0.1}, "peak_memory_bytes": 1000000000, "shape": "flat", "warm_up_steps": 0, "disturbance": "", "first_step_at": 0.0, "peak_device_bytes": null, "seconds_per_step": 0.02, "steady_seconds_per_step": 0.02}','[{"lap": 0, "place": 0, "settling_seconds": 0.6, "seconds": [0.02, 0.021], "last_step": 3, "loss": 2.1, "wall_seconds": 0.8, "cpu_seconds": 0.7, "ready_seconds": 0.75, "looked_seconds": 0.9, "late_seconds": 1e-06, "major_faults": 0, "minor_faults": 3, "involuntary_switches": 1, "machine": {"seconds": 1.0, "steal_share": 0.0, "others_share": 0.01, "cpu_pressure": 0.0, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": null, "frequency_hertz": 3000000000.0, "temperature_celsius": 61.5, "package_joules": null, "gpu": null}, "device_seconds": []}, {"lap": 1, "place": 0, "settling_seconds": 0.6, "seconds": [0.02, 0.021], "last_step": 3, "loss": 2.1, "wall_seconds": 0.8, "cpu_seconds": 0.7, "ready_seconds": 0.75, "looked_seconds": 0.9, "late_seconds": 1e-06, "major_faults": 0, "minor_faults": 3, "involuntary_switches": 1, "machine": {"seconds": 1.0, "steal_share": 0.0, "others_share": 0.01, "cpu_pressure": 0.0, "memory_pressure": 0.0, "io_pressure": 0.0, "throttled_seconds": null, "frequency_hertz": 3000000000.0, "temperature_celsius": 61.5, "package_joules": null, "gpu": null}, "device_seconds": []}]');
CREATE TABLE runs (
	id INTEGER NOT NULL, 
	started_at VARCHAR NOT NULL, 
	ended_at VARCHAR, 
	protocol INTEGER NOT NULL, 
	"plan" JSON NOT NULL, 
	host JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES(1,'2026-11-27T21:53:56+00:00','2026-11-28T00:33:17+00:00',4,'{"cells": [{"workload": "fcn-5-tiny", "framework": "null", "variant": "default", "device": "cpu", "threads": 1, "mini_batch": 8, "precision": "float32", "mode": "train"}]}','{"processor": "Test", "physical_cores": 2, "memory_bytes": 17179869184, "kernel": "6"}');
CREATE INDEX ix_calibrations_machine ON calibrations (machine);
CREATE INDEX ix_results_run ON results (run);
CREATE INDEX ix_rounds_result ON rounds (result);
CREATE INDEX ix_probes_run ON probes (run);
CREATE INDEX ix_events_machine ON events (machine);
COMMIT;
